//! A guild whose owner is dead, at the next one: what voice servers say of it comes before what anybody wants.

use cluster_wire::voice::{Memo, Participant, Rights};

use super::*;

impl World {
    /// The node is gone, and another begins with the same database and registry.
    async fn succeeded(self, change: impl FnOnce(&mut GuildsConfig)) -> Self {
        self.handle.shutdown().await;
        let mut config =
            GuildsConfig { operator_key: Some(OPERATOR_KEY.to_owned()), ..GuildsConfig::default() };
        change(&mut config);
        let (store, registry) = (self.store, self.registry);
        let key = TokenKey::new(b"secret");
        let handle = Guilds::start(config, store.clone(), registry.clone(), None, key).await.unwrap();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        handle.add_gateway(GATEWAY, sender);
        Self { link: handle.link(), handle, events, store, registry }
    }
}

/// What a voice server says where this person is in voice and connected.
fn with(
    person: &Person,
    channel: ChannelId,
    server: &str,
) -> impl Fn(GuildId, u64) -> Option<Report> + use<> {
    let (user, session, server) = (person.id, person.session, ServerId(server.to_owned()));
    move |guild, claim| {
        let memo = Memo {
            flags: VoiceFlags::default(),
            suppress: false,
            request_to_speak: None,
            joined_at: UnixMs(1),
            terms: None,
        };
        let person = Participant { user, session, channel, rights: Rights::default(), memo: Some(memo) };
        let Report::Held(held) = nothing(&server, guild, claim) else { unreachable!("made for this") };
        Some(Report::Held(Box::new(Held {
            fencing: 1,
            participants: vec![person],
            live: [session].into(),
            ..*held
        })))
    }
}

#[tokio::test]
async fn who_joins_first_goes_where_the_others_are() {
    let world = World::new().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (guild, _, voice) = world.guild_of(&ann).await;
    world.add_member(guild, &bob).await;

    let mut world = world.succeeded(|_| {}).await;
    // The first would be chosen, were the guild nowhere.
    let (_orders, _first) = world.voice_server("v1").await;
    let (mut orders, _second) = world.voice_server_that("v2", with(&ann, voice, "v2")).await;
    world.until_known("v1").await;
    world.until_known("v2").await;
    // Asked at once, as a client's wish and the attachment before it are.
    let (attached, joined) = tokio::join!(world.attach(guild, &bob), world.join(guild, Some(voice), &bob));
    assert!(matches!((&attached, &joined), (Ok(Reply::Done), Ok(Reply::Done))), "{attached:?} {joined:?}");
    let (_, shown) = world.event("GUILD_CREATE").await;
    assert_eq!(shown["voice_states"][0]["user_id"], ann.id.to_string(), "{shown}");
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v2.test:443");
    let orders = [next_order(&mut orders).await, next_order(&mut orders).await];
    let put =
        |order: &Order| matches!(&order.kind, OrderKind::Put(p) if p.user == ann.id || p.user == bob.id);
    assert!(orders.iter().all(put), "{orders:?}");
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_node_that_has_just_started_does_not_act_before_its_ways_are_open() {
    let world = World::new().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (guild, _, voice) = world.guild_of(&ann).await;
    world.add_member(guild, &bob).await;
    // Of another process, and there before the node is.
    let _record =
        world.registry.publish(ServerRecord { cluster: Some("v2:1".to_owned()), ..record("v2") }).await;

    let mut world = world.succeeded(|_| {}).await;
    let (_orders, _first) = world.voice_server("v1").await;
    let (attached, joined) = (world.attach(guild, &bob), world.join(guild, Some(voice), &bob));
    let opened = async {
        world.until_known("v1").await;
        let server = ServerId("v2".to_owned());
        let (sender, mut orders) = mpsc::channel(ORDERS_MAX);
        world.handle.add_voice(server.clone(), VoiceLink::new(sender));
        let claim = next_order(&mut orders).await;
        assert_eq!(claim.kind, OrderKind::Claim);
        let held = with(&ann, voice, "v2")(guild, claim.fencing).unwrap();
        world.handle.reports().send(held).await.unwrap();
        orders
    };
    let (attached, joined, _orders) = tokio::join!(attached, joined, opened);
    assert!(matches!((&attached, &joined), (Ok(Reply::Done), Ok(Reply::Done))), "{attached:?} {joined:?}");
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v2.test:443");
    world.handle.shutdown().await;
}

#[tokio::test]
async fn who_has_joined_elsewhere_since_is_not_torn_away_from_there() {
    let world = World::new().await;
    let ann = world.register("ann").await;
    let (one, _, voice_one) = world.guild_of(&ann).await;
    let (two, _, voice_two) = world.guild_of(&ann).await;

    let mut world = world.succeeded(|_| {}).await;
    let (_orders, _first) = world.voice_server("v1").await;
    world.until_known("v1").await;
    world.attach(two, &ann).await.unwrap();
    world.join(two, Some(voice_two), &ann).await.unwrap();
    body(world.rest(Some(ann.id), Op::GetGuild(one)).await);
    // Where she was before she did.
    let before = with(&ann, voice_one, "v2");
    let held = move |guild, claim| if guild == one { before(guild, claim) } else { None };
    let (_late, _second) = world.voice_server_that("v2", held).await;
    loop {
        let (_, state) = world.event("VOICE_STATE_UPDATE").await;
        if state["guild_id"] == one.to_string() && state["channel_id"].is_null() {
            break;
        }
    }
    let state = |guild| world.rest(Some(ann.id), Op::GetVoiceState(guild, ann.id));
    assert_eq!(refused(state(one).await), (404, 10065));
    assert_eq!(body(state(two).await)["channel_id"], voice_two.to_string());
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_voice_server_that_says_nothing_is_not_waited_for_and_one_that_comes_late_is_heard() {
    let world = World::new().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (guild, _, voice) = world.guild_of(&ann).await;
    world.add_member(guild, &bob).await;

    let mut world = world.succeeded(|config| config.servers_heard_within = Duration::from_millis(20)).await;
    let (_silent, _first) = world.voice_server_that("v1", |_, _| None).await;
    world.until_known("v1").await;
    world.attach(guild, &bob).await.unwrap();
    world.join(guild, Some(voice), &bob).await.unwrap();
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v1.test:443");
    let (mut late, _second) = world.voice_server_that("v2", with(&ann, voice, "v2")).await;
    loop {
        if world.event("VOICE_STATE_UPDATE").await.1["user_id"] == ann.id.to_string() {
            break;
        }
    }
    let (audience, told) = world.event("VOICE_SERVER_UPDATE").await;
    assert!(matches!(audience, Audience::Session(session) if session == ann.session), "she follows");
    assert_eq!(told["endpoint"], "v1.test:443");
    assert_eq!(next_order(&mut late).await.kind, OrderKind::Drop);
    world.handle.shutdown().await;
}
