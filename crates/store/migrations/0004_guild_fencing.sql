-- The fencing number of the ownership under which a guild is written, where there are several nodes that could own it: less by 2^63 than it is, so that
-- numbers of 64 bits keep their order.

ALTER TABLE guilds ADD COLUMN fencing BIGINT NOT NULL DEFAULT -9223372036854775808;
