-- A person's token ends when it has long not been used, and the one unused for longest makes room for a new one. For what is
-- already there nothing better is known than when it was made.

ALTER TABLE tokens ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0;
UPDATE tokens SET used_at = created_at;
