//! Random lives of a guild: whatever comes in whatever order, the invariants hold.

use client_wire::rest::{
    ModifyMember, ModifyVoiceState, OverwriteBody, Patch, RoleBody, RolePosition, StageInstanceBody,
    VoiceStatusBody,
};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Attach(UserId, u128),
    Detach(UserId, u128),
    Voice(UserId, u128, Option<ChannelId>, VoiceFlags),
    Ping(UserId, u128),
    Live(UserId),
    Gone(UserId),
    LeaveElsewhere(UserId),
    Server(u8, bool),
    Drain(u8, bool),
    Lose(u8),
    /// Of a channel, or of the guild.
    Region(Option<ChannelId>, Option<bool>),
    Limit(ChannelId, u16),
    Overwrite(ChannelId, u64, u8, Permissions, Permissions),
    Role(RoleId, Permissions),
    MemberRole(UserId, RoleId, bool),
    Moderate(UserId, UserId, ModifyMember),
    Kick(UserId, UserId),
    Add(UserId),
    DeleteChannel(ChannelId),
    Say(UserId, ChannelId),
    Status(UserId, ChannelId, bool),
    Open(UserId, ChannelId),
    Close(UserId, ChannelId),
    Speak(UserId, UserId, bool),
    Reorder(UserId, Vec<(RoleId, u16)>),
    Wait(u64),
}

fn users() -> impl Strategy<Value = UserId> {
    (1_u64..=5).prop_map(UserId)
}

fn channels() -> impl Strategy<Value = ChannelId> {
    prop_oneof![6 => Just(LOBBY), 4 => Just(ROOM), 2 => Just(STAGE), 1 => Just(TEXT)]
}

fn permissions() -> impl Strategy<Value = Permissions> {
    let some = [
        Permissions::VIEW_CHANNEL,
        Permissions::CONNECT,
        Permissions::SPEAK,
        Permissions::STREAM,
        Permissions::MOVE_MEMBERS,
        Permissions::MUTE_MEMBERS,
        Permissions::MANAGE_ROLES,
        Permissions::ADMINISTRATOR,
    ];
    proptest::sample::subsequence(some.to_vec(), 0..=3)
        .prop_map(|bits| bits.into_iter().fold(Permissions::empty(), |sum, bit| sum | bit))
}

fn flags() -> impl Strategy<Value = VoiceFlags> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(self_mute, self_deaf, self_video)| VoiceFlags {
        self_mute,
        self_deaf,
        self_video,
        self_stream: false,
    })
}

fn moderations() -> impl Strategy<Value = ModifyMember> {
    let until = UnixMs(START.0 + 500_000).iso8601();
    prop_oneof![
        any::<bool>().prop_map(|mute| ModifyMember { mute: Some(mute), ..ModifyMember::default() }),
        any::<bool>().prop_map(|deaf| ModifyMember { deaf: Some(deaf), ..ModifyMember::default() }),
        channels().prop_map(|to| ModifyMember { channel_id: Patch::Set(to), ..ModifyMember::default() }),
        Just(ModifyMember { channel_id: Patch::Clear, ..ModifyMember::default() }),
        Just(ModifyMember { communication_disabled_until: Patch::Set(until), ..ModifyMember::default() }),
        Just(ModifyMember { communication_disabled_until: Patch::Clear, ..ModifyMember::default() }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let session = || 0_u128..2;
    let role = || prop_oneof![Just(LOW), Just(HIGH)];
    prop_oneof![
        3 => (users(), session()).prop_map(|(user, n)| Step::Attach(user, n)),
        2 => (users(), session()).prop_map(|(user, n)| Step::Detach(user, n)),
        12 => (users(), session(), proptest::option::weighted(0.8, channels()), flags())
            .prop_map(|(user, n, channel, flags)| Step::Voice(user, n, channel, flags)),
        1 => (users(), session()).prop_map(|(user, n)| Step::Ping(user, n)),
        3 => users().prop_map(Step::Live),
        1 => users().prop_map(Step::Gone),
        1 => users().prop_map(Step::LeaveElsewhere),
        2 => (0_u8..3, any::<bool>()).prop_map(|(n, far)| Step::Server(n, far)),
        1 => (0_u8..3, any::<bool>()).prop_map(|(n, draining)| Step::Drain(n, draining)),
        1 => (0_u8..3).prop_map(Step::Lose),
        1 => (proptest::option::of(channels()), proptest::option::of(any::<bool>()))
            .prop_map(|(channel, far)| Step::Region(channel, far)),
        1 => (channels(), 0_u16..3).prop_map(|(channel, limit)| Step::Limit(channel, limit)),
        2 => (channels(), prop_oneof![Just((EVERYONE.0, 0_u8)), Just((LOW.0, 0)), (1_u64..=5).prop_map(|id| (id, 1))],
              permissions(), permissions())
            .prop_map(|(channel, (id, kind), allow, deny)| Step::Overwrite(channel, id, kind, allow, deny)),
        1 => (role(), permissions()).prop_map(|(role, permissions)| Step::Role(role, permissions)),
        2 => (users(), role(), any::<bool>()).prop_map(|(user, role, has)| Step::MemberRole(user, role, has)),
        4 => (users(), users(), moderations()).prop_map(|(by, of, body)| Step::Moderate(by, of, body)),
        1 => (users(), users()).prop_map(|(by, of)| Step::Kick(by, of)),
        1 => users().prop_map(Step::Add),
        1 => channels().prop_map(Step::DeleteChannel),
        1 => (users(), channels()).prop_map(|(user, channel)| Step::Say(user, channel)),
        1 => (users(), channels(), any::<bool>()).prop_map(|(user, channel, set)| Step::Status(user, channel, set)),
        1 => (users(), Just(STAGE)).prop_map(|(user, channel)| Step::Open(user, channel)),
        1 => (users(), Just(STAGE)).prop_map(|(user, channel)| Step::Close(user, channel)),
        2 => (users(), users(), any::<bool>()).prop_map(|(by, of, may)| Step::Speak(by, of, may)),
        1 => (users(), proptest::collection::vec((role(), 0_u16..4), 0..3)).prop_map(|(by, to)| Step::Reorder(by, to)),
        1 => (0_u64..400_000).prop_map(Step::Wait),
    ]
}

/// Two sessions a user.
fn nth(user: UserId, n: u128) -> SessionId {
    SessionId(u128::from(user.0) + n * 100)
}

fn server_name(n: u8) -> String {
    ["a", "b", "c"][usize::from(n)].to_owned()
}

fn region_name(far: bool) -> &'static str {
    if far { "far" } else { "local" }
}

fn take(world: &mut World, step: Step) -> Option<Outcome> {
    let outcome = match step {
        Step::Attach(user, n) => world.attach(user, nth(user, n), ALL_INTENTS),
        Step::Detach(user, n) => {
            world.call(Call::Detach { guild: GUILD, user, session: nth(user, n), gateway: GATEWAY })
        }
        Step::Voice(user, n, channel, flags) => return Some(voice(world, user, n, channel, flags)),
        Step::Ping(user, n) => {
            world.call(Call::VoiceServerPing { guild: GUILD, user, session: nth(user, n) })
        }
        Step::Live(user) | Step::Gone(user) => {
            let known = world.core.server_of(user).is_some();
            match (known, step) {
                (true, Step::Live(_)) => world.live(user),
                (true, _) => world.gone(user),
                (false, _) => {}
            }
            return None;
        }
        Step::LeaveElsewhere(user) => world.input(|core, moment| core.handle_leave_voice(moment, user)),
        Step::Server(n, far) => {
            let region = RegionId(region_name(far).to_owned());
            world.add_server(ServerRecord { region, ..server(&server_name(n)) })
        }
        Step::Drain(n, draining) => {
            let id = ServerId(server_name(n));
            let record = world.servers.get(&id).cloned()?;
            world.add_server(ServerRecord { draining, ..record })
        }
        Step::Lose(n) => world.lose_server(&server_name(n)),
        Step::Region(channel, far) => {
            let region = far.map(region_name);
            match channel {
                Some(channel) => world.rest(OWNER, zones::names(channel, region)),
                None => world.rest(OWNER, zones::of_guild(region)),
            }
        }
        Step::Limit(channel, limit) => {
            let body = rest::ChannelBody { user_limit: Some(limit), ..rest::ChannelBody::default() };
            world.rest(OWNER, Op::ModifyChannel(channel, body))
        }
        Step::Overwrite(channel, id, kind, allow, deny) => {
            let body = OverwriteBody { id: None, kind, allow, deny };
            world.rest(OWNER, Op::PutOverwrite { channel, id, body })
        }
        Step::Role(role, permissions) => {
            let body = RoleBody { permissions: Some(permissions), ..RoleBody::default() };
            world.rest(OWNER, Op::ModifyRole(GUILD, role, body))
        }
        Step::MemberRole(user, role, true) => world.rest(OWNER, Op::AddMemberRole(GUILD, user, role)),
        Step::MemberRole(user, role, false) => world.rest(OWNER, Op::RemoveMemberRole(GUILD, user, role)),
        Step::Moderate(by, of, body) => world.modify(by, of, body),
        Step::Kick(by, of) => world.rest(by, Op::RemoveMember(GUILD, of)),
        Step::Add(who) => {
            let facts = Facts { users: vec![user(who)], ..Facts::default() };
            let op = Op::AdminAddMember(GUILD, who);
            world.call_knowing(facts, Call::Rest { actor: None, operator: true, reason: None, op })
        }
        Step::DeleteChannel(channel) => world.rest(OWNER, Op::DeleteChannel(channel)),
        Step::Say(user, channel) => {
            let body = rest::MessageBody { content: Some("x".to_owned()), nonce: None };
            world.rest(user, Op::CreateMessage(channel, body))
        }
        Step::Status(user, channel, set) => {
            let status = if set { Patch::Set("tea".to_owned()) } else { Patch::Clear };
            world.rest(user, Op::SetVoiceStatus(channel, VoiceStatusBody { status }))
        }
        Step::Open(user, channel) => {
            let topic = Some("bees".to_owned());
            let body = StageInstanceBody { topic, ..StageInstanceBody::default() };
            world.rest(user, Op::CreateStageInstance(channel, body))
        }
        Step::Close(user, channel) => world.rest(user, Op::DeleteStageInstance(channel)),
        Step::Speak(by, of, may) => {
            let body = ModifyVoiceState { suppress: Some(!may), ..ModifyVoiceState::default() };
            world.rest(by, Op::ModifyVoiceState(GUILD, of, body))
        }
        Step::Reorder(by, to) => {
            let to = to.into_iter().map(|(id, at)| RolePosition { id, position: Some(at) });
            world.rest(by, Op::ReorderRoles(GUILD, to.collect()))
        }
        Step::Wait(ms) => {
            world.now.0 += ms;
            return None;
        }
    };
    Some(outcome)
}

/// Op 4, and that it let nobody into a full channel who may not.
fn voice(world: &mut World, user: UserId, n: u128, channel: Option<ChannelId>, flags: VoiceFlags) -> Outcome {
    let was_in = world.core.voice.get(&user).map(|entry| entry.state.channel);
    let outcome = world.update(user, nth(user, n), channel, flags);
    let is_in = world.core.voice.get(&user).map(|entry| entry.state.channel);
    if let Some(entered) = is_in.filter(|_| is_in != was_in) {
        let limit = usize::from(world.core.guild.channel(entered).unwrap().user_limit);
        let inside = world.core.voice.values().filter(|entry| entry.state.channel == entered).count();
        let permissions = world.core.member_permissions_in(user, entered, world.now);
        assert!(permissions.contains(Permissions::VIEW_CHANNEL | Permissions::CONNECT));
        assert!(limit == 0 || inside <= limit || permissions.contains(Permissions::MOVE_MEMBERS));
    }
    outcome
}

/// For each session that is told a server, its user's state was told before (in this outcome or an earlier one), and
/// orders that close what it had come after.
fn check_order(world: &World, outcome: &Outcome) {
    let lines = trace(outcome);
    let first = |start: &str| lines.iter().position(|line| line.starts_with(start));
    if let (Some(state), Some(server)) = (first("STATE"), first("SERVER")) {
        let moves_are_over = lines.iter().filter(|line| line.starts_with("SERVER")).count() > 1;
        assert!(state < server || moves_are_over, "{lines:?}");
    }
    // Where channels have regions of their own, some may be moved after a server has been left that concerned others.
    let is_one = world.core.guild.channels.iter().all(|channel| channel.region.is_none());
    if let Some(dropped) = lines.iter().position(|line| line.ends_with(": drop")).filter(|_| is_one) {
        assert!(lines.iter().skip(dropped).all(|line| !line.starts_with("SERVER")), "{lines:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold(steps in proptest::collection::vec(steps(), 1..80)) {
        let mut world = World::attached();
        for step in steps {
            let shown = format!("{step:?}");
            if let Some(outcome) = take(&mut world, step) {
                if !matches!(outcome.reply, Ok(Reply::Done | Reply::Json(..) | Reply::Empty)) {
                    assert!(outcome.effects.is_empty() && outcome.writes.is_empty(), "{shown}");
                }
                check_order(&world, &outcome);
            }
            world.check_invariants();
        }
    }
}
