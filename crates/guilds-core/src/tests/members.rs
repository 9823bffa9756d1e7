//! Hierarchy, roles, time-outs, kicks, bans, invites.

use client_wire::rest::{BanBody, InviteBody, ModifyGuild, ModifyMember, Patch, RoleBody};
use model::{Ban, Invite};

use super::*;

/// Ann has HIGH with these permissions, Bob has LOW, Carl has nothing.
fn ranked(granted: Permissions) -> World {
    let mut world = World::attached();
    world.give_role(ANN, HIGH);
    world.grant(HIGH, granted);
    world.give_role(BOB, LOW);
    world
}

#[test]
fn moderation_reaches_only_those_below() {
    let all = Permissions::all().difference(Permissions::ADMINISTRATOR);
    let nick = || ModifyMember { nick: Patch::Set("n".to_owned()), ..ModifyMember::default() };
    let time_out = || ModifyMember {
        communication_disabled_until: Patch::Set(UnixMs(START.0 + 60_000).iso8601()),
        ..ModifyMember::default()
    };
    let check = |actor: UserId, target: UserId, allowed: bool| {
        let facts = Facts { users: vec![user(target)], ..Facts::default() };
        for op in [
            Op::RemoveMember(GUILD, target),
            Op::Ban(GUILD, target, BanBody::default()),
            Op::ModifyMember(GUILD, target, nick()),
            Op::ModifyMember(GUILD, target, time_out()),
        ] {
            let mut world = ranked(all);
            // Bob may do as much as Ann; only rank tells them apart.
            world.grant(LOW, all);
            let outcome = world.call_knowing(facts.clone(), rest_call(actor, op.clone()));
            match allowed {
                true => assert!(outcome.reply.is_ok(), "{op:?}: {:?}", outcome.reply),
                false => assert!(matches!(error(&outcome), (403, 50013) | (400, 50055)), "{op:?}"),
            }
            world.check_invariants();
        }
    };
    check(OWNER, ANN, true);
    check(ANN, BOB, true);
    check(ANN, CARL, true);
    check(BOB, ANN, false);
    check(BOB, OWNER, false);
    check(ANN, OWNER, false);
    check(CARL, BOB, false);
    check(DOT, CARL, false);
}

#[test]
fn roles_are_managed_from_above_and_grant_only_what_one_has() {
    let mut world = ranked(Permissions::MANAGE_ROLES | Permissions::KICK_MEMBERS);
    let grants = |permissions| RoleBody { permissions: Some(permissions), ..RoleBody::default() };
    let create = |permissions| Op::CreateRole(GUILD, grants(permissions));
    assert_eq!(error(&world.rest(CARL, create(Permissions::empty()))), (403, 50013));
    assert_eq!(error(&world.rest(ANN, create(Permissions::BAN_MEMBERS))), (403, 50013));
    let made = world.rest(ANN, create(Permissions::KICK_MEMBERS));
    expect(&made, &["GUILD_ROLE_CREATE"]);
    assert_eq!(body(&made)["permissions"], "2");

    let modify = |role| Op::ModifyRole(GUILD, role, grants(Permissions::KICK_MEMBERS));
    assert_eq!(error(&world.rest(ANN, modify(HIGH))), (403, 50013), "one's own highest");
    expect(&world.rest(ANN, modify(LOW)), &["GUILD_ROLE_UPDATE"]);
    assert_eq!(error(&world.rest(ANN, Op::DeleteRole(GUILD, HIGH))), (403, 50013));
    assert_eq!(error(&world.rest(ANN, Op::DeleteRole(GUILD, EVERYONE))), (400, 50028));
    assert_eq!(error(&world.rest(ANN, Op::DeleteRole(GUILD, RoleId(9)))), (404, 10011));

    assert_eq!(error(&world.rest(ANN, Op::AddMemberRole(GUILD, CARL, HIGH))), (403, 50013));
    assert_eq!(error(&world.rest(ANN, Op::AddMemberRole(GUILD, CARL, EVERYONE))), (400, 50028));
    expect(&world.rest(ANN, Op::AddMemberRole(GUILD, CARL, LOW)), &["GUILD_MEMBER_UPDATE"]);
    expect(&world.rest(ANN, Op::AddMemberRole(GUILD, CARL, LOW)), &[]);
    let take = ModifyMember { roles: Some(vec![]), ..ModifyMember::default() };
    expect(&world.modify(ANN, CARL, take), &["GUILD_MEMBER_UPDATE"]);

    // A deleted role goes from its members and from overwrites.
    world.deny(TEXT, OverwriteTarget::Role(LOW), Permissions::SEND_MESSAGES);
    let deleted = world.rest(ANN, Op::DeleteRole(GUILD, LOW));
    expect(&deleted, &["GUILD_ROLE_DELETE"]);
    assert_eq!(deleted.writes, [Write::DeleteRole(LOW)]);
    assert!(world.core.guild.member(BOB).unwrap().roles.is_empty());
    assert!(world.core.guild.channel(TEXT).unwrap().overwrites.is_empty());
}

#[test]
fn a_time_out_ends_the_stay_in_voice() {
    let mut world = ranked(Permissions::MODERATE_MEMBERS);
    world.join(CARL, LOBBY);
    let until = |ms: u64| ModifyMember {
        communication_disabled_until: Patch::Set(UnixMs(START.0 + ms).iso8601()),
        ..ModifyMember::default()
    };
    assert_eq!(error(&world.modify(ANN, CARL, until(29 * 86_400_000))), (400, 50035));
    expect(
        &world.modify(ANN, CARL, until(60_000)),
        &["GUILD_MEMBER_UPDATE", "STATE 4 in null", "left voice 4", "order a: remove 4/4", "order a: drop"],
    );
    assert_eq!(refusal(&world.join(CARL, LOBBY)), Some("may not connect to this channel"));
    let bring = ModifyMember { channel_id: Patch::Set(LOBBY), ..ModifyMember::default() };
    assert!(world.modify(OWNER, CARL, bring).reply.is_err(), "nobody brings it back in the meantime");
    world.now.0 += 59_999;
    assert_eq!(refusal(&world.join(CARL, LOBBY)), Some("may not connect to this channel"));
    // When it ends nothing happens by itself; whoever comes again may speak again.
    world.now.0 += 1;
    let joined = world.join(CARL, LOBBY);
    assert!(matches!(joined.reply, Ok(Reply::Done)));
    assert!(world.core.voice[&CARL].rights.speak);
    world.check_invariants();
}

#[test]
fn a_kicked_member_leaves_voice_and_guild() {
    let mut world = ranked(Permissions::KICK_MEMBERS);
    world.join(CARL, LOBBY);
    let kicked = world.rest(ANN, Op::RemoveMember(GUILD, CARL));
    expect(
        &kicked,
        &[
            "STATE 4 in null",
            "left voice 4",
            "order a: remove 4/4",
            "order a: drop",
            "GUILD_MEMBER_REMOVE",
            "left 4",
        ],
    );
    assert_eq!(writes_of(&kicked, |write| *write == Write::DeleteMember(GUILD, CARL)), 1);
    assert_eq!(error(&world.rest(ANN, Op::RemoveMember(GUILD, CARL))), (404, 10007));
    assert_eq!(error(&world.rest(CARL, Op::GetGuild(GUILD))), (403, 50001));
    expect(&world.rest(BOB, Op::RemoveMember(GUILD, BOB)), &["GUILD_MEMBER_REMOVE", "left 3"]);
    assert_eq!(error(&world.rest(OWNER, Op::RemoveMember(GUILD, OWNER))), (400, 50055));
    world.check_invariants();
}

fn invite(uses: u32, max_uses: u32, expires_at: Option<UnixMs>) -> Invite {
    Invite {
        code: "abc".to_owned(),
        guild: GUILD,
        channel: TEXT,
        inviter: OWNER,
        created_at: START,
        expires_at,
        uses,
        max_uses,
    }
}

#[test]
fn bans_keep_people_out_and_can_be_lifted() {
    let mut world = ranked(Permissions::BAN_MEMBERS);
    let stranger = UserId(50);
    let knowing =
        |bans: Vec<Ban>| Facts { bans, users: vec![user(stranger), user(CARL)], ..Facts::default() };
    let ban = |target| rest_call(ANN, Op::Ban(GUILD, target, BanBody { reason: Some("r".to_owned()) }));
    expect(&world.call_knowing(knowing(vec![]), ban(stranger)), &["GUILD_BAN_ADD to {1, 2}"]);
    let banned = world.call_knowing(knowing(vec![]), ban(CARL));
    expect(&banned, &["GUILD_MEMBER_REMOVE", "left 4", "GUILD_BAN_ADD to {1, 2}"]);
    assert_eq!(error(&world.call_knowing(knowing(vec![]), ban(UserId(404)))), (404, 10013));

    let held = vec![Ban { user: CARL, reason: None }];
    let facts = Facts { invites: vec![invite(0, 0, None)], ..knowing(held.clone()) };
    let accept = rest_call(CARL, Op::AcceptInvite("abc".to_owned()));
    assert_eq!(error(&world.call_knowing(facts, accept)), (403, 40007));
    let unban = rest_call(ANN, Op::Unban(GUILD, CARL));
    assert_eq!(error(&world.call_knowing(knowing(vec![]), unban.clone())), (404, 10026));
    expect(&world.call_knowing(knowing(held.clone()), unban), &["GUILD_BAN_REMOVE to {1, 2}"]);
    let get = |actor, user| rest_call(actor, Op::GetBan(GUILD, user));
    assert_eq!(body(&world.call_knowing(knowing(held.clone()), get(ANN, CARL)))["user"]["id"], "4");
    assert_eq!(error(&world.call_knowing(knowing(vec![]), get(ANN, CARL))), (404, 10026));
    assert_eq!(error(&world.call_knowing(knowing(held.clone()), get(BOB, CARL))), (403, 50013));
    let list = world.call_knowing(knowing(held), rest_call(ANN, Op::ListBans(GUILD)));
    assert_eq!(body(&list)[0]["user"]["username"], "user4");
    assert_eq!(error(&world.rest(BOB, Op::ListBans(GUILD))), (403, 50013));
}

#[test]
fn an_invite_lets_in_until_it_is_spent() {
    let check = |invite: Invite, expect: Result<u32, (u16, u32)>| {
        let mut world = World::attached();
        let facts = Facts { invites: vec![invite], users: vec![user(UserId(50))], ..Facts::default() };
        let outcome = world.call_knowing(facts, rest_call(UserId(50), Op::AcceptInvite("abc".to_owned())));
        match expect {
            Err(expect) => assert_eq!(error(&outcome), expect),
            Ok(uses) => {
                assert_eq!(trace(&outcome)[..2], ["GUILD_MEMBER_ADD".to_owned(), "joined 50".to_owned()]);
                let put = outcome.writes.iter().find_map(|write| match write {
                    Write::PutInvite(invite) => Some(invite.uses),
                    _ => None,
                });
                assert_eq!(put.unwrap_or_default(), uses);
                let deleted = writes_of(&outcome, |write| matches!(write, Write::DeleteInvite(_)));
                assert_eq!(deleted == 1, uses == 0, "a spent invite is deleted");
            }
        }
    };
    let unknown = Err((404, 10006));
    check(invite(0, 0, None), Ok(1));
    check(invite(0, 2, None), Ok(1));
    check(invite(1, 2, None), Ok(0));
    check(invite(2, 2, None), unknown);
    check(invite(0, 0, Some(UnixMs(START.0 + 1))), Ok(1));
    check(invite(0, 0, Some(START)), unknown);
    check(Invite { channel: ChannelId(9), ..invite(0, 0, None) }, unknown);
    check(Invite { guild: GuildId(9), ..invite(0, 0, None) }, unknown);
}

#[test]
fn invites_are_made_seen_and_withdrawn() {
    let mut world = ranked(Permissions::MANAGE_CHANNELS);
    let make = |body| Op::CreateInvite(TEXT, body);
    let made = world.rest(CARL, make(InviteBody::default()));
    expect(&made, &["INVITE_CREATE to {1, 2}"]);
    let invite_body = body(&made);
    assert_eq!(invite_body["code"].as_str().unwrap().len(), 10);
    assert_eq!((&invite_body["max_age"], &invite_body["inviter"]["id"]), (&86_400.into(), &"4".into()));
    let forever = body(&world.rest(CARL, make(InviteBody { max_age: Some(0), max_uses: Some(5) })));
    assert_eq!((&forever["expires_at"], &forever["max_uses"]), (&serde_json::Value::Null, &5.into()));
    let wrong = InviteBody { max_age: Some(u32::MAX), max_uses: None };
    assert_eq!(error(&world.rest(CARL, make(wrong))), (400, 50035));

    let facts = || Facts { invites: vec![invite(0, 0, None)], ..Facts::default() };
    let with = |actor, op| rest_call(actor, op);
    let look = world.call_knowing(facts(), with(UserId(50), Op::GetInvite("abc".to_owned())));
    assert_eq!(body(&look)["guild"]["name"], "guild");
    let withdraw = Op::DeleteInvite("abc".to_owned());
    assert_eq!(error(&world.call_knowing(facts(), with(CARL, withdraw.clone()))), (403, 50013));
    expect(&world.call_knowing(facts(), with(ANN, withdraw)), &["INVITE_DELETE to {1, 2}"]);
    assert_eq!(error(&world.call_knowing(facts(), with(ANN, Op::ListInvites(GUILD)))), (403, 50013));
    let list = world.call_knowing(facts(), with(OWNER, Op::ListInvites(GUILD)));
    assert_eq!(body(&list)[0]["code"], "abc");
}

#[test]
fn bots_are_added_by_managers_and_anybody_by_the_operator() {
    let mut world = ranked(Permissions::MANAGE_GUILD);
    assert!(world.rest(DOT, Op::RemoveMember(GUILD, DOT)).reply.is_ok());
    let add = |world: &mut World, actor: Option<UserId>, operator: bool, who: UserId| {
        let facts = Facts { users: vec![user(who)], ..Facts::default() };
        let op = Op::AdminAddMember(GUILD, who);
        world.call_knowing(facts, Call::Rest { actor, operator, reason: None, op })
    };
    assert_eq!(error(&add(&mut world, Some(BOB), false, DOT)), (403, 50013));
    assert_eq!(error(&add(&mut world, Some(ANN), false, UserId(50))), (403, 50013));
    expect(&add(&mut world, Some(ANN), false, DOT), &["GUILD_MEMBER_ADD", "joined 5"]);
    expect(&add(&mut world, Some(ANN), false, DOT), &[]);
    expect(&add(&mut world, None, true, UserId(50)), &["GUILD_MEMBER_ADD", "joined 50"]);
    world.check_invariants();
}

#[test]
fn the_owner_hands_the_guild_on_and_deletes_it() {
    let mut world = ranked(Permissions::MANAGE_GUILD);
    world.join(BOB, LOBBY);
    let to = |owner| ModifyGuild { owner_id: Some(owner), ..ModifyGuild::default() };
    assert_eq!(error(&world.rest(ANN, Op::ModifyGuild(GUILD, to(ANN)))), (403, 50013));
    assert_eq!(error(&world.rest(OWNER, Op::ModifyGuild(GUILD, to(UserId(50))))), (404, 10007));
    let handed = world.rest(OWNER, Op::ModifyGuild(GUILD, to(CARL)));
    assert_eq!(body(&handed)["owner_id"], "4");
    assert_eq!(error(&world.rest(OWNER, Op::DeleteGuild(GUILD))), (403, 50013));
    let deleted = world.rest(CARL, Op::DeleteGuild(GUILD));
    expect(
        &deleted,
        &["left voice 3", "order a: drop", "left 1", "left 2", "left 3", "left 4", "left 5", "deleted"],
    );
    assert_eq!(deleted.writes, [Write::DeleteGuild(GUILD)]);
}

#[test]
fn a_nickname_is_ones_own_to_change() {
    let mut world = World::attached();
    let nick = |nick: &str| ModifyMember { nick: Patch::Set(nick.to_owned()), ..ModifyMember::default() };
    assert_eq!(body(&world.modify(ANN, ANN, nick("  Annie ")))["nick"], "Annie");
    assert_eq!(body(&world.modify(ANN, ANN, nick("")))["nick"], serde_json::Value::Null);
    assert_eq!(error(&world.modify(ANN, ANN, nick(&"x".repeat(33)))), (400, 50035));
    assert_eq!(error(&world.modify(ANN, BOB, nick("x"))), (403, 50013));
    assert_eq!(error(&world.modify(ANN, UserId(50), nick("x"))), (404, 10007));
}
