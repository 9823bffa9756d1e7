-- One schema for SQLite and PostgreSQL. Every number is a BIGINT: ids, permissions and times are 64 unsigned bits kept
-- in the same 64 signed bits. References are checked when a transaction ends, so that one transaction's writes may come
-- in any order; deletions cascade at once.

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- The name in Unicode lower case: SQLite's own lower() knows ASCII only.
    name_key TEXT NOT NULL UNIQUE,
    display_name TEXT,
    bot BOOLEAN NOT NULL,
    password_hash TEXT,
    owner_id BIGINT REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE tokens (
    -- SHA-256 in hexadecimal.
    hash TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    created_at BIGINT NOT NULL
);
CREATE INDEX tokens_by_user ON tokens (user_id);

CREATE TABLE guilds (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    owner_id BIGINT NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    region TEXT
);

CREATE TABLE roles (
    id BIGINT NOT NULL PRIMARY KEY,
    guild_id BIGINT NOT NULL REFERENCES guilds (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    name TEXT NOT NULL,
    permissions BIGINT NOT NULL,
    position BIGINT NOT NULL,
    color BIGINT NOT NULL,
    hoist BOOLEAN NOT NULL,
    mentionable BOOLEAN NOT NULL
);
CREATE INDEX roles_by_guild ON roles (guild_id);

CREATE TABLE channels (
    id BIGINT NOT NULL PRIMARY KEY,
    guild_id BIGINT NOT NULL REFERENCES guilds (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    kind BIGINT NOT NULL,
    name TEXT NOT NULL,
    topic TEXT,
    position BIGINT NOT NULL,
    parent_id BIGINT REFERENCES channels (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    bitrate BIGINT NOT NULL,
    user_limit BIGINT NOT NULL,
    region TEXT,
    -- No reference: the last message may have been deleted since.
    last_message_id BIGINT
);
CREATE INDEX channels_by_guild ON channels (guild_id);
CREATE INDEX channels_by_parent ON channels (parent_id);

CREATE TABLE overwrites (
    channel_id BIGINT NOT NULL REFERENCES channels (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    ordinal BIGINT NOT NULL,
    -- What target_id names: 0 a role, 1 a member. A member's overwrites outlive a stay in the guild.
    target_kind BIGINT NOT NULL,
    target_id BIGINT NOT NULL,
    allow_bits BIGINT NOT NULL,
    deny_bits BIGINT NOT NULL,
    PRIMARY KEY (channel_id, ordinal)
);
CREATE INDEX overwrites_by_target ON overwrites (target_kind, target_id);

CREATE TABLE members (
    guild_id BIGINT NOT NULL REFERENCES guilds (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    user_id BIGINT NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    nick TEXT,
    joined_at BIGINT NOT NULL,
    mute BOOLEAN NOT NULL,
    deaf BOOLEAN NOT NULL,
    timed_out_until BIGINT,
    PRIMARY KEY (guild_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE member_roles (
    guild_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    role_id BIGINT NOT NULL REFERENCES roles (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (guild_id, user_id, ordinal),
    FOREIGN KEY (guild_id, user_id) REFERENCES members (guild_id, user_id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX member_roles_by_role ON member_roles (role_id);

CREATE TABLE messages (
    id BIGINT NOT NULL PRIMARY KEY,
    channel_id BIGINT NOT NULL REFERENCES channels (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    author_id BIGINT NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    content TEXT NOT NULL,
    edited_at BIGINT
);
CREATE INDEX messages_by_channel ON messages (channel_id, id);

CREATE TABLE invites (
    code TEXT NOT NULL PRIMARY KEY,
    guild_id BIGINT NOT NULL REFERENCES guilds (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    channel_id BIGINT NOT NULL REFERENCES channels (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    inviter_id BIGINT NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    uses BIGINT NOT NULL,
    max_uses BIGINT NOT NULL
);
CREATE INDEX invites_by_guild ON invites (guild_id);
CREATE INDEX invites_by_channel ON invites (channel_id);

CREATE TABLE bans (
    guild_id BIGINT NOT NULL REFERENCES guilds (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    user_id BIGINT NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    reason TEXT,
    PRIMARY KEY (guild_id, user_id)
);
