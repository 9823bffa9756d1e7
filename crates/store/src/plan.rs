//! From writes to statements: pure, and the only place that knows which rows a write is made of.
//!
//! Neighbours of one kind become one statement of many rows, so that a thousand members cost a few round trips.

use std::collections::HashSet;
use std::mem::discriminant;

use model::{Channel, GuildId, Member, OverwriteTarget, Write};

use crate::rows::{bits, clean};

/// The widest table's number of columns, for the bound on a statement's values.
pub const MAX_COLUMNS: usize = 12;

/// What is bound to a statement. Nulls carry a type because PostgreSQL asks for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bool(bool),
}

#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// The primary key: the first columns of a row.
    pub keys: &'static [&'static str],
    pub rest: &'static [&'static str],
}

#[derive(Debug)]
pub enum Statement {
    /// No two rows have the same key: PostgreSQL refuses to touch a row twice in one statement.
    Upsert {
        table: &'static Table,
        rows: Vec<Vec<Value>>,
    },
    Delete {
        table: &'static str,
        by: &'static [&'static str],
        keys: Vec<Vec<Value>>,
    },
}

static GUILDS: Table = Table { name: "guilds", keys: &["id"], rest: &["name", "owner_id", "region"] };
static ROLES: Table = Table {
    name: "roles",
    keys: &["id"],
    rest: &["guild_id", "name", "permissions", "position", "color", "hoist", "mentionable"],
};
static CHANNELS: Table = Table {
    name: "channels",
    keys: &["id"],
    rest: &[
        "guild_id",
        "kind",
        "name",
        "topic",
        "position",
        "parent_id",
        "bitrate",
        "user_limit",
        "region",
        "video_quality",
        "last_message_id",
    ],
};
static OVERWRITES: Table = Table {
    name: "overwrites",
    keys: &["channel_id", "ordinal"],
    rest: &["target_kind", "target_id", "allow_bits", "deny_bits"],
};
static MEMBERS: Table = Table {
    name: "members",
    keys: &["guild_id", "user_id"],
    rest: &["nick", "joined_at", "mute", "deaf", "timed_out_until"],
};
static MEMBER_ROLES: Table =
    Table { name: "member_roles", keys: &["guild_id", "user_id", "ordinal"], rest: &["role_id"] };
static MESSAGES: Table =
    Table { name: "messages", keys: &["id"], rest: &["channel_id", "author_id", "content", "edited_at"] };
static INVITES: Table = Table {
    name: "invites",
    keys: &["code"],
    rest: &["guild_id", "channel_id", "inviter_id", "created_at", "expires_at", "uses", "max_uses"],
};
static BANS: Table = Table { name: "bans", keys: &["guild_id", "user_id"], rest: &["reason"] };

/// The kinds of target in the table of overwrites.
pub const TARGET_ROLE: i64 = 0;
pub const TARGET_MEMBER: i64 = 1;

/// Statements whose effect, run in order, is that of `writes` in order.
pub fn plan(writes: &[Write]) -> Vec<Statement> {
    let mut statements = Vec::new();
    for run in writes.chunk_by(|a, b| discriminant(a) == discriminant(b)) {
        let mut batch = Batch::default();
        for write in latest_of_each(run) {
            batch.add(write);
        }
        statements.append(&mut batch.statements);
    }
    statements
}

/// Of several writes to one thing only the last has an effect.
fn latest_of_each(run: &[Write]) -> Vec<&Write> {
    let mut seen = HashSet::new();
    let mut latest: Vec<_> = run.iter().rev().filter(|write| seen.insert(key(write))).collect();
    latest.reverse();
    latest
}

/// What a write is about, unique among writes of its kind.
fn key(write: &Write) -> Vec<Value> {
    match write {
        Write::PutGuild { id, .. } | Write::DeleteGuild(id) => vec![int(id.0)],
        Write::PutChannel(_, channel) => vec![int(channel.id.0)],
        Write::DeleteChannel(id) => vec![int(id.0)],
        Write::PutRole(_, role) => vec![int(role.id.0)],
        Write::DeleteRole(id) => vec![int(id.0)],
        Write::PutMember(guild, member) => vec![int(guild.0), int(member.user.0)],
        Write::DeleteMember(guild, user) => vec![int(guild.0), int(user.0)],
        Write::PutMessage(message) => vec![int(message.id.0)],
        Write::DeleteMessage(id) => vec![int(id.0)],
        Write::PutInvite(invite) => vec![text(&invite.code)],
        Write::DeleteInvite(code) => vec![text(code)],
        Write::PutBan(guild, ban) => vec![int(guild.0), int(ban.user.0)],
        Write::DeleteBan(guild, user) => vec![int(guild.0), int(user.0)],
    }
}

/// The statements of writes of one kind, one for each table that they touch.
#[derive(Default)]
struct Batch {
    statements: Vec<Statement>,
}

impl Batch {
    fn add(&mut self, write: &Write) {
        let key = key(write);
        match write {
            Write::PutGuild { name, owner, region, .. } => {
                let region = opt_text(region.as_ref().map(|r| r.0.as_str()));
                self.upsert(&GUILDS, key, [text(name), int(owner.0), region]);
            }
            Write::DeleteGuild(_) => self.delete("guilds", &["id"], key),
            Write::PutChannel(guild, channel) => self.add_channel(key, *guild, channel),
            Write::DeleteChannel(_) => self.delete("channels", &["id"], key),
            Write::PutRole(guild, role) => {
                let numbers = [role.permissions.bits(), role.position.into(), role.color.into()].map(int);
                let [permissions, position, color] = numbers;
                let flags = [role.hoist, role.mentionable].map(Value::Bool);
                let [hoist, mentionable] = flags;
                let row = [int(guild.0), text(&role.name), permissions, position, color, hoist, mentionable];
                self.upsert(&ROLES, key, row);
            }
            Write::DeleteRole(id) => {
                // Overwrites cannot reference roles, since some of them are for members.
                let target = vec![Value::Int(Some(TARGET_ROLE)), int(id.0)];
                self.delete("overwrites", &["target_kind", "target_id"], target);
                self.delete("roles", &["id"], key);
            }
            Write::PutMember(_, member) => self.add_member(key, member),
            Write::DeleteMember(..) => self.delete("members", &["guild_id", "user_id"], key),
            Write::PutMessage(m) => {
                let edited_at = opt_int(m.edited_at.map(|t| t.0));
                self.upsert(&MESSAGES, key, [int(m.channel.0), int(m.author.0), text(&m.content), edited_at]);
            }
            Write::DeleteMessage(_) => self.delete("messages", &["id"], key),
            Write::PutInvite(i) => {
                let [guild, channel, inviter] = [i.guild.0, i.channel.0, i.inviter.0].map(int);
                let [created_at, uses, max_uses] =
                    [i.created_at.0, i.uses.into(), i.max_uses.into()].map(int);
                let expires_at = opt_int(i.expires_at.map(|t| t.0));
                self.upsert(&INVITES, key, [guild, channel, inviter, created_at, expires_at, uses, max_uses]);
            }
            Write::DeleteInvite(_) => self.delete("invites", &["code"], key),
            Write::PutBan(_, ban) => self.upsert(&BANS, key, [opt_text(ban.reason.as_deref())]),
            Write::DeleteBan(..) => self.delete("bans", &["guild_id", "user_id"], key),
        }
    }

    fn add_channel(&mut self, key: Vec<Value>, guild: GuildId, channel: &Channel) {
        let row = [
            int(guild.0),
            int(channel.kind as u64),
            text(&channel.name),
            opt_text(channel.topic.as_deref()),
            int(channel.position.into()),
            opt_int(channel.parent.map(|id| id.0)),
            int(channel.bitrate.into()),
            int(channel.user_limit.into()),
            opt_text(channel.region.as_ref().map(|r| r.0.as_str())),
            int(channel.video_quality as u64),
            opt_int(channel.last_message.map(|id| id.0)),
        ];
        self.upsert(&CHANNELS, key.clone(), row);
        self.delete("overwrites", &["channel_id"], key.clone());
        for (ordinal, overwrite) in (0..).zip(&channel.overwrites) {
            let (kind, target) = match overwrite.target {
                OverwriteTarget::Role(id) => (TARGET_ROLE, id.0),
                OverwriteTarget::Member(id) => (TARGET_MEMBER, id.0),
            };
            let [target, allow, deny] = [target, overwrite.allow.bits(), overwrite.deny.bits()].map(int);
            let key = vec![key[0].clone(), int(ordinal)];
            self.upsert(&OVERWRITES, key, [Value::Int(Some(kind)), target, allow, deny]);
        }
    }

    fn add_member(&mut self, key: Vec<Value>, member: &Member) {
        let row = [
            opt_text(member.nick.as_deref()),
            int(member.joined_at.0),
            Value::Bool(member.mute),
            Value::Bool(member.deaf),
            opt_int(member.timed_out_until.map(|t| t.0)),
        ];
        self.upsert(&MEMBERS, key.clone(), row);
        self.delete("member_roles", &["guild_id", "user_id"], key.clone());
        for (ordinal, role) in (0..).zip(&member.roles) {
            let key = vec![key[0].clone(), key[1].clone(), int(ordinal)];
            self.upsert(&MEMBER_ROLES, key, [int(role.0)]);
        }
    }

    fn upsert<const N: usize>(&mut self, into: &'static Table, key: Vec<Value>, rest: [Value; N]) {
        let row: Vec<_> = key.into_iter().chain(rest).collect();
        assert_eq!(row.len(), into.keys.len() + into.rest.len(), "a row of {} has every column", into.name);
        for statement in &mut self.statements {
            if let Statement::Upsert { table, rows } = statement
                && table.name == into.name
            {
                rows.push(row);
                return;
            }
        }
        self.statements.push(Statement::Upsert { table: into, rows: vec![row] });
    }

    fn delete(&mut self, from: &'static str, by: &'static [&'static str], key: Vec<Value>) {
        for statement in &mut self.statements {
            if let Statement::Delete { table, keys, .. } = statement
                && *table == from
            {
                keys.push(key);
                return;
            }
        }
        self.statements.push(Statement::Delete { table: from, by, keys: vec![key] });
    }
}

fn int(n: u64) -> Value {
    opt_int(Some(n))
}

fn opt_int(n: Option<u64>) -> Value {
    Value::Int(n.map(bits))
}

fn text(s: &str) -> Value {
    opt_text(Some(s))
}

fn opt_text(s: Option<&str>) -> Value {
    Value::Text(s.map(|s| clean(s).into_owned()))
}

#[cfg(test)]
mod tests {
    use model::{ChannelKind, MessageId, Permissions, RoleId, UnixMs, UserId};

    use super::*;

    /// Statements in short: the table, `+` or `-`, and the number of rows.
    fn check(writes: &[Write], expect: &str) {
        let short = |statement: &Statement| match statement {
            Statement::Upsert { table, rows } => format!("{}+{}", table.name, rows.len()),
            Statement::Delete { table, keys, .. } => format!("{table}-{}", keys.len()),
        };
        let got: Vec<_> = plan(writes).iter().map(short).collect();
        assert_eq!(got.join(" "), expect);
    }

    fn member(user: u64, roles: &[u64]) -> Write {
        let mut member = Member::new(UserId(user), UnixMs(0));
        member.roles = roles.iter().map(|id| RoleId(*id)).collect();
        Write::PutMember(GuildId(1), member)
    }

    #[test]
    fn neighbours_of_one_kind_share_statements() {
        let delete = |id| Write::DeleteMessage(MessageId(id));
        check(&[], "");
        check(&[delete(1), delete(2), delete(3)], "messages-3");
        check(&[member(1, &[]), member(2, &[])], "members+2 member_roles-2");
        check(&[member(1, &[]), member(2, &[8, 9])], "members+2 member_roles-2 member_roles+2");
        check(
            &[member(1, &[]), delete(1), member(2, &[])],
            "members+1 member_roles-1 messages-1 members+1 member_roles-1",
        );
        check(&[Write::DeleteRole(RoleId(8)), Write::DeleteRole(RoleId(9))], "overwrites-2 roles-2");
    }

    #[test]
    fn what_is_written_twice_leaves_only_the_parts_of_the_last() {
        check(&[member(1, &[8, 9]), member(1, &[8])], "members+1 member_roles-1 member_roles+1");
        let mut channel = Channel::new(model::ChannelId(5), ChannelKind::Voice, "a");
        let target = OverwriteTarget::Member(UserId(1));
        let overwrite = model::Overwrite { target, allow: Permissions::empty(), deny: Permissions::SPEAK };
        channel.overwrites.push(overwrite);
        let with = Write::PutChannel(GuildId(1), channel.clone());
        channel.overwrites.clear();
        let without = Write::PutChannel(GuildId(1), channel);
        check(&[with.clone(), without.clone()], "channels+1 overwrites-1");
        check(&[without, with], "channels+1 overwrites-1 overwrites+1");
    }

    #[test]
    fn no_table_is_wider_than_the_bound_on_values_assumes() {
        let tables =
            [&GUILDS, &ROLES, &CHANNELS, &OVERWRITES, &MEMBERS, &MEMBER_ROLES, &MESSAGES, &INVITES, &BANS];
        let widest = tables.iter().map(|t| t.keys.len() + t.rest.len()).max();
        assert_eq!(widest, Some(MAX_COLUMNS));
    }
}
