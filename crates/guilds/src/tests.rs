//! The service as a gateway and a voice server see it: real database, real registry, everything else played here.

use std::collections::BTreeSet;
use std::time::Duration;

use client_wire::error::ApiError;
use client_wire::rest;
use cluster_wire::guilds::{Account, Audience, Call, CallResult, Event, GatewayId, Op, Origin, Reply, Terms};
use cluster_wire::link::{EVENTS_MAX, EventReceiver, GuildsLink, ORDERS_MAX, VoiceLink};
use cluster_wire::record::{Health, RelayStatus, ServerLoad, ServerRecord, Upgrade, UpgradeOutcome};
use cluster_wire::token::{TokenKey, VoiceToken};
use cluster_wire::voice::{Held, Order, OrderKind, Report, ToVoice};
use model::{ChannelId, GuildId, RegionId, ServerId, SessionId, UnixMs, UserId, VoiceFlags};
use registry::Registry;
use serde_json::Value;
use store::Store;
use tokio::sync::mpsc;

use crate::limits::{LOGIN_FAILURES_FREE, TOKEN_UNUSED_MAX, TOKENS_PER_USER_MAX};
use crate::shared::now;
use crate::tokens::new_token;
use crate::{Guilds, GuildsConfig, GuildsHandle, PasswordCost, Registration};

mod resting;
mod servers;
mod takeover;

const GATEWAY: GatewayId = GatewayId(1);
const OPERATOR_KEY: &str = "the operator's key";
/// Far beyond what anything here takes; reaching it means that what was awaited never happens.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of many networks.
fn origin(n: u8) -> Origin {
    Origin::of([192, 0, n, 1].into())
}

struct World {
    handle: GuildsHandle,
    link: GuildsLink,
    events: EventReceiver,
    store: Store,
    registry: Registry,
}

struct Person {
    id: UserId,
    token: String,
    session: SessionId,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut GuildsConfig)) -> Self {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let registry = Registry::memory(Duration::from_secs(3_600));
        let mut config = GuildsConfig {
            operator_key: Some(OPERATOR_KEY.to_owned()),
            password_cost: PasswordCost { memory_kib: 64, passes: 1 },
            ..GuildsConfig::default()
        };
        change(&mut config);
        let key = TokenKey::new(b"secret");
        let handle = Guilds::start(config, store.clone(), registry.clone(), None, key).await.unwrap();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        handle.add_gateway(GATEWAY, sender);
        Self { link: handle.link(), handle, events, store, registry }
    }

    async fn rest(&self, actor: Option<UserId>, op: Op) -> CallResult {
        self.link.call(Call::Rest { actor, operator: false, reason: None, op }).await
    }

    async fn operate(&self, op: Op) -> CallResult {
        self.link.call(Call::Rest { actor: None, operator: true, reason: None, op }).await
    }

    async fn register(&self, name: &str) -> Person {
        let reply = body(self.rest(None, Op::Register(form(name))).await);
        let id: UserId = id(&reply["user_id"]);
        let token = reply["token"].as_str().unwrap().to_owned();
        Person { id, token, session: SessionId(u128::from(id.0)) }
    }

    async fn account(&self, token: &str) -> Result<Account, ApiError> {
        match self.link.call(Call::Authenticate { token: token.to_owned() }).await? {
            Reply::Account(account) => Ok(account),
            other => panic!("{other:?}"),
        }
    }

    /// A guild of this person's: its id, its text and its voice channel.
    async fn guild_of(&self, owner: &Person) -> (GuildId, ChannelId, ChannelId) {
        let form = rest::CreateGuild { name: "guild".to_owned(), region: None };
        let guild: GuildId = id(&body(self.rest(Some(owner.id), Op::CreateGuild(form)).await)["id"]);
        let channels = body(self.rest(Some(owner.id), Op::ListChannels(guild)).await);
        (guild, id(&channels[0]["id"]), id(&channels[1]["id"]))
    }

    async fn attach(&self, guild: GuildId, person: &Person) -> CallResult {
        let (user, session) = (person.id, person.session);
        let terms = Terms { intents: u64::MAX, shard: (0, 1), status: model::PresenceStatus::Online };
        self.link
            .call(Call::Attach {
                guild,
                user,
                session,
                gateway: GATEWAY,
                is_live: true,
                terms,
                seat: None,
                knows_seat: true,
            })
            .await
    }

    async fn join(&self, guild: GuildId, channel: Option<ChannelId>, person: &Person) -> CallResult {
        let (user, session, flags) = (person.id, person.session, VoiceFlags::default());
        self.link.call(Call::UpdateVoice { guild, user, session, channel, flags }).await
    }

    async fn add_member(&self, guild: GuildId, person: &Person) {
        body(self.operate(Op::AdminAddMember(guild, person.id)).await);
    }

    /// The next event of this name, whatever comes before it.
    async fn event(&mut self, t: &str) -> (Audience, Value) {
        loop {
            if let Event::Dispatch { dispatch, .. } = self.next_event().await
                && dispatch.t == t
            {
                return (dispatch.audience, serde_json::from_str(dispatch.d.get()).unwrap());
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        patient(self.events.recv()).await.expect("the gateway is not cut off")
    }

    /// A voice server that is registered and linked; its orders come out of the receiver. It holds nothing of an earlier owner's.
    async fn voice_server(&self, name: &str) -> (mpsc::Receiver<ToVoice>, registry::Registration) {
        let server = ServerId(name.to_owned());
        self.voice_server_that(name, move |guild, claim| Some(nothing(&server, guild, claim))).await
    }

    /// One that answers like this who asks what it holds.
    async fn voice_server_that(
        &self,
        name: &str,
        answer: impl Fn(GuildId, u64) -> Option<Report> + Send + 'static,
    ) -> (mpsc::Receiver<ToVoice>, registry::Registration) {
        let registration = self.registry.publish(record(name)).await.unwrap();
        let (sender, mut orders) = mpsc::channel(ORDERS_MAX);
        self.handle.add_voice(ServerId(name.to_owned()), VoiceLink::new(sender));
        let (sender, rest) = mpsc::channel(ORDERS_MAX);
        let reports = self.handle.reports();
        tokio::spawn(async move {
            // It ends with whoever reads the rest.
            while let Some(Some(order)) = tokio::select! {
                order = orders.recv() => Some(order),
                () = sender.closed() => None,
            } {
                let kept = match &order {
                    ToVoice::Order(Order { kind: OrderKind::Claim, guild, fencing }) => {
                        match answer(*guild, *fencing) {
                            Some(held) => reports.send(held).await.is_ok(),
                            None => true,
                        }
                    }
                    ToVoice::Order(Order { kind: OrderKind::Channel(_), .. }) => true,
                    _ => sender.send(order).await.is_ok(),
                };
                if !kept {
                    break;
                }
            }
        });
        (rest, registration)
    }

    /// The next guild that asks a voice server is told that it holds nothing.
    async fn hold_nothing(&self, orders: &mut mpsc::Receiver<ToVoice>) {
        let claim = next_order(orders).await;
        assert_eq!(claim.kind, OrderKind::Claim);
        let answer = nothing(&ServerId("v1".to_owned()), claim.guild, claim.fencing);
        self.handle.reports().send(answer).await.unwrap();
    }

    /// Until guilds has heard of the server.
    async fn until_known(&self, name: &str) {
        let region = async {
            while !body(self.operate(Op::AdminServers).await)
                .as_array()
                .unwrap()
                .iter()
                .any(|s| s["id"] == name)
            {
                tokio::task::yield_now().await;
            }
        };
        patient(region).await;
    }
}

/// What a voice server says that holds nothing of the guild.
fn nothing(server: &ServerId, guild: GuildId, claim: u64) -> Report {
    let (server, participants, channels) = (server.clone(), Vec::new(), Vec::new());
    Report::Held(Box::new(Held {
        server,
        guild,
        claim,
        fencing: 0,
        participants,
        live: BTreeSet::new(),
        channels,
    }))
}

fn record(name: &str) -> ServerRecord {
    ServerRecord {
        id: ServerId(name.to_owned()),
        region: RegionId("local".to_owned()),
        endpoint: format!("{name}.test:443"),
        health: Health::Ok,
        load: ServerLoad::default(),
        capacity: 100,
        version: "1".to_owned(),
        draining: false,
        cluster: None,
        relay: RelayStatus::default(),
    }
}

fn form(name: &str) -> rest::Register {
    let password = format!("password of {name}");
    rest::Register { username: name.to_owned(), password, global_name: None, invite: None }
}

fn body(result: CallResult) -> Value {
    match result.expect("the call succeeds") {
        Reply::Json(_, json) => serde_json::from_str(json.get()).unwrap(),
        other => panic!("no body: {other:?}"),
    }
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().unwrap_or_else(|| panic!("no id: {value}")).parse().unwrap()
}

fn refused(result: CallResult) -> (u16, u32) {
    let error = result.expect_err("the call is refused");
    (error.status, error.code)
}

async fn next_order(orders: &mut mpsc::Receiver<ToVoice>) -> Order {
    match patient(orders.recv()).await.expect("the link is still the same") {
        ToVoice::Order(order) => order,
        other => panic!("no order: {other:?}"),
    }
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

#[tokio::test]
async fn an_account_is_made_signs_in_and_is_known_by_its_token() {
    let world = World::new().await;
    let ann = world.register("ann").await;
    for prefix in ["", "Bot ", "Bearer "] {
        let account = world.account(&format!("{prefix}{}", ann.token)).await.unwrap();
        assert_eq!((account.user, account.bot, account.operator), (ann.id, false, false));
        assert!(account.json.get().contains("\"mfa_enabled\":false"));
    }
    assert_eq!(world.account("rubbish").await.unwrap_err().status, 401);
    assert_eq!(world.account("").await.unwrap_err().status, 401);

    let login = |name: &str, password: &str| {
        Op::Login(origin(1), rest::Login { login: name.to_owned(), password: password.to_owned() })
    };
    let signed_in = body(world.rest(None, login("ANN", "password of ann")).await);
    assert_ne!(signed_in["token"], ann.token.as_str());
    assert_eq!(world.account(signed_in["token"].as_str().unwrap()).await.unwrap().user, ann.id);
    let user = body(world.rest(Some(ann.id), Op::GetUser(ann.id)).await);
    assert_eq!((&user["username"], &user["discriminator"]), (&"ann".into(), &"0".into()));
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetUser(UserId(1))).await), (404, 10013));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn forms_of_accounts_are_checked() {
    let world = World::new().await;
    world.register("ann").await;
    let check = async |change: &dyn Fn(&mut rest::Register), field: &str| {
        let mut form = form("bob");
        change(&mut form);
        let error = world.rest(None, Op::Register(form)).await.expect_err(field);
        assert_eq!((error.status, error.code), (400, 50035));
        assert!(error.errors.contains_key(field), "{error:?}");
    };
    check(&|form| form.username = "ANN".to_owned(), "username").await;
    check(&|form| form.username = "a".to_owned(), "username").await;
    check(&|form| form.username = "a b".to_owned(), "username").await;
    check(&|form| form.username = "x".repeat(33), "username").await;
    check(&|form| form.password = "short".to_owned(), "password").await;
    check(&|form| form.password = "x".repeat(257), "password").await;
    check(&|form| form.global_name = Some("x".repeat(33)), "global_name").await;
    let mut invited = form("bob");
    invited.invite = Some("nothing".to_owned());
    assert_eq!(refused(world.rest(None, Op::Register(invited)).await), (404, 10006));
    world.register("bob").await;
    world.handle.shutdown().await;
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down() {
    let world = World::new().await;
    world.register("ann").await;
    let login = |name: &str, password: &str| {
        Op::Login(origin(1), rest::Login { login: name.to_owned(), password: password.to_owned() })
    };
    for _ in 0..LOGIN_FAILURES_FREE {
        assert_eq!(refused(world.rest(None, login("ann", "wrong password")).await), (400, 50035));
    }
    assert_eq!(refused(world.rest(None, login("ann", "password of ann")).await).0, 429);
    let elsewhere = rest::Login { login: "ann".to_owned(), password: "password of ann".to_owned() };
    body(world.rest(None, Op::Login(origin(2), elsewhere)).await);
    assert_eq!(refused(world.rest(None, login("nobody", "wrong password")).await), (400, 50035));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn guesses_made_at_once_are_slowed_down_as_well() {
    let world = World::new().await;
    world.register("ann").await;
    let guess = || {
        let form = rest::Login { login: "ann".to_owned(), password: "wrong password".to_owned() };
        world.rest(None, Op::Login(origin(1), form))
    };
    let answers = futures_util::future::join_all((0..50).map(|_| guess())).await;
    let verified = answers.into_iter().filter(|answer| answer.as_ref().unwrap_err().status == 400).count();
    assert_eq!(verified, LOGIN_FAILURES_FREE as usize);
    world.handle.shutdown().await;
}

#[tokio::test]
async fn an_invite_for_one_makes_one_account() {
    let world = World::with(|config| config.registration = Registration::Invited).await;
    let made = body(world.operate(Op::AdminCreateUser(form("ann"))).await);
    let ann = Person { id: id(&made["user_id"]), token: String::new(), session: SessionId(1) };
    let (guild, text, _) = world.guild_of(&ann).await;
    let once = rest::InviteBody { max_uses: Some(1), ..rest::InviteBody::default() };
    let invite = body(world.rest(Some(ann.id), Op::CreateInvite(text, once)).await);
    let code = invite["code"].as_str().unwrap();
    let register = |n: usize| {
        let form = rest::Register { invite: Some(code.to_owned()), ..form(&format!("guest{n}")) };
        world.rest(None, Op::Register(form))
    };
    let answers = futures_util::future::join_all((0..5).map(register)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let users = body(world.operate(Op::AdminListUsers).await);
    assert_eq!(users.as_array().unwrap().len(), 2, "{users}");
    let members = Op::ListMembers { guild, limit: 10, after: UserId(0) };
    assert_eq!(body(world.rest(Some(ann.id), members).await).as_array().unwrap().len(), 2);
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_bot_is_added_by_its_owner_where_it_is_not_banned() {
    let world = World::new().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (guild, ..) = world.guild_of(&ann).await;
    let create = |name: &str| Op::CreateBot(rest::CreateBot { name: name.to_owned(), guild_id: None });
    let anns: UserId = id(&body(world.rest(Some(ann.id), create("robot")).await)["user_id"]);
    let bobs: UserId = id(&body(world.rest(Some(bob.id), create("golem")).await)["user_id"]);
    let add = |bot| Op::AdminAddMember(guild, bot);
    assert_eq!(refused(world.rest(Some(ann.id), add(bobs)).await), (403, 50013), "another's bot");
    assert_eq!(refused(world.rest(Some(ann.id), add(bob.id)).await), (403, 50013), "a person");
    assert_eq!(refused(world.rest(Some(bob.id), add(bobs)).await), (403, 50001), "a guild one is not in");
    body(world.rest(Some(ann.id), add(anns)).await);
    world.rest(Some(ann.id), Op::Ban(guild, anns, rest::BanBody::default())).await.unwrap();
    assert_eq!(refused(world.rest(Some(ann.id), add(anns)).await), (403, 40007));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn nobody_is_in_more_guilds_than_there_is_room_for() {
    let world = World::new().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (_, text, _) = world.guild_of(&bob).await;
    let invite = body(world.rest(Some(bob.id), Op::CreateInvite(text, rest::InviteBody::default())).await);
    let accept = || Op::AcceptInvite(invite["code"].as_str().unwrap().to_owned());
    for _ in 0..crate::limits::GUILDS_PER_USER_MAX {
        world.guild_of(&ann).await;
    }
    assert_eq!(refused(world.rest(Some(ann.id), accept()).await), (400, 30001));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn registration_can_be_closed_or_by_invite() {
    let world = World::with(|config| config.registration = Registration::Closed).await;
    assert_eq!(refused(world.rest(None, Op::Register(form("ann"))).await), (403, 40001));
    assert_eq!(refused(world.rest(None, Op::AdminCreateUser(form("ann"))).await), (403, 40001));
    let ann: UserId = id(&body(world.operate(Op::AdminCreateUser(form("ann"))).await)["user_id"]);
    let listed = body(world.operate(Op::AdminListUsers).await);
    assert_eq!(listed[0]["id"], ann.to_string());
    world.handle.shutdown().await;

    let mut world = World::with(|config| config.registration = Registration::Invited).await;
    assert_eq!(refused(world.rest(None, Op::Register(form("ann"))).await), (403, 40001));
    let made = body(world.operate(Op::AdminCreateUser(form("ann"))).await);
    let ann = Person { id: id(&made["user_id"]), token: String::new(), session: SessionId(1) };
    let (guild, text, _) = world.guild_of(&ann).await;
    let invite = body(world.rest(Some(ann.id), Op::CreateInvite(text, rest::InviteBody::default())).await);
    let invited = rest::Register { invite: Some(invite["code"].as_str().unwrap().to_owned()), ..form("bob") };
    let bob = body(world.rest(None, Op::Register(invited)).await);
    let account = world.account(bob["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(account.guilds, [guild]);
    loop {
        if let Event::Joined { guild: of, user } = world.next_event().await
            && user == account.user
        {
            assert_eq!(of, guild);
            break;
        }
    }
    world.handle.shutdown().await;
}

#[tokio::test]
async fn the_operators_key_is_an_operator_and_no_user() {
    let world = World::new().await;
    let operator = world.account(&format!("Bot {OPERATOR_KEY}")).await.unwrap();
    assert!(operator.operator && operator.guilds.is_empty());
    // Whoever is nobody cannot own anything.
    let create = Op::CreateGuild(rest::CreateGuild { name: "guild".to_owned(), region: None });
    let call = Call::Rest { actor: Some(operator.user), operator: true, reason: None, op: create };
    assert_eq!(refused(world.link.call(call).await), (403, 40001));
    for op in [Op::AdminServers, Op::AdminListUsers] {
        assert_eq!(refused(world.rest(Some(UserId(5)), op).await), (403, 40001));
    }
    world.handle.shutdown().await;

    let keyless = World::with(|config| config.operator_key = Some(String::new())).await;
    assert!(keyless.account("").await.is_err(), "an empty key opens nothing");
    keyless.handle.shutdown().await;
}

#[tokio::test]
async fn bots_have_owners_and_tokens_that_can_be_replaced() {
    let mut world = World::new().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (guild, ..) = world.guild_of(&ann).await;
    let bot = |guild_id| Op::CreateBot(rest::CreateBot { name: "robot".to_owned(), guild_id });
    assert_eq!(refused(world.rest(Some(bob.id), bot(Some(guild))).await), (403, 50001));
    let made = body(world.rest(Some(ann.id), bot(Some(guild))).await);
    let token = made["token"].as_str().unwrap();
    let account = world.account(token).await.unwrap();
    assert!(account.bot);
    assert_eq!(account.guilds, [guild]);
    assert_eq!(refused(world.rest(Some(bob.id), Op::ResetToken(account.user)).await), (403, 50013));
    assert_eq!(refused(world.rest(Some(ann.id), Op::ResetToken(ann.id)).await), (403, 50013));
    let reset = body(world.rest(Some(ann.id), Op::ResetToken(account.user)).await);
    assert_eq!(world.account(token).await.unwrap_err().status, 401);
    assert!(world.account(reset["token"].as_str().unwrap()).await.is_ok());
    loop {
        if let Event::TokensRevoked { user, token: None } = world.next_event().await {
            assert_eq!(user, account.user);
            break;
        }
    }
    world.handle.shutdown().await;
}

/// Makes a token as if it had last been used so long ago.
async fn aged(world: &World, user: UserId, unused_for: Duration) -> String {
    let token = new_token(user, now());
    let hash = crate::tokens::hash(&token).unwrap();
    world.store.put_token(hash, user, UnixMs(now().0 - unused_for.as_millis() as u64)).await.unwrap();
    token
}

#[tokio::test]
async fn logging_out_ends_one_token_and_says_which() {
    let mut world = World::new().await;
    let ann = world.register("ann").await;
    let login = rest::Login { login: "ann".to_owned(), password: form("ann").password };
    let other =
        body(world.rest(None, Op::Login(origin(1), login)).await)["token"].as_str().unwrap().to_owned();
    let token = world.account(&ann.token).await.unwrap().token;
    assert!(matches!(world.rest(Some(ann.id), Op::Logout(token)).await, Ok(Reply::Empty)));
    assert_eq!(world.account(&ann.token).await.unwrap_err().status, 401);
    assert!(world.account(&other).await.is_ok());
    let event = world.next_event().await;
    assert!(
        matches!(event, Event::TokensRevoked { user, token: Some(ended) } if user == ann.id && ended == token),
        "{event:?}"
    );
    let made = rest::CreateBot { name: "robot".to_owned(), guild_id: None };
    let made = body(world.rest(Some(ann.id), Op::CreateBot(made)).await);
    let bot = world.account(made["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(refused(world.rest(Some(bot.user), Op::Logout(bot.token)).await).0, 403);
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_persons_token_ends_when_it_is_not_used_and_a_bots_does_not() {
    let world = World::new().await;
    let ann = world.register("ann").await;
    let day = Duration::from_secs(86_400);
    let old = aged(&world, ann.id, TOKEN_UNUSED_MAX + day).await;
    assert_eq!(world.account(&old).await.unwrap_err().status, 401);
    let used = aged(&world, ann.id, TOKEN_UNUSED_MAX - day).await;
    assert!(world.account(&used).await.is_ok());
    let (_, used_at) = world.store.token(crate::tokens::hash(&used).unwrap()).await.unwrap().unwrap();
    assert!(now().0 - used_at.0 < 86_400_000, "its use is noted");
    let made = rest::CreateBot { name: "robot".to_owned(), guild_id: None };
    let bot: UserId = id(&body(world.rest(Some(ann.id), Op::CreateBot(made)).await)["user_id"]);
    let old = aged(&world, bot, TOKEN_UNUSED_MAX * 3).await;
    assert!(world.account(&old).await.is_ok());
    world.handle.shutdown().await;
}

#[tokio::test]
async fn an_account_has_so_many_tokens_and_the_longest_unused_goes() {
    let world = World::new().await;
    let ann = world.register("ann").await;
    let oldest = aged(&world, ann.id, Duration::from_secs(3_600)).await;
    for n in 2..TOKENS_PER_USER_MAX {
        aged(&world, ann.id, Duration::from_secs(u64::from(n))).await;
    }
    assert!(world.account(&oldest).await.is_ok());
    let login = rest::Login { login: "ann".to_owned(), password: form("ann").password };
    let newest =
        body(world.rest(None, Op::Login(origin(1), login)).await)["token"].as_str().unwrap().to_owned();
    assert_eq!(world.account(&oldest).await.unwrap_err().status, 401);
    assert!(world.account(&newest).await.is_ok() && world.account(&ann.token).await.is_ok());
    world.handle.shutdown().await;
}

#[tokio::test]
async fn from_registration_to_a_voice_channel() {
    let mut world = World::new().await;
    let (mut orders, _registration) = world.voice_server("v1").await;
    world.until_known("v1").await;
    let ann = world.register("ann").await;
    let (guild, _, voice) = world.guild_of(&ann).await;
    assert!(matches!(world.attach(guild, &ann).await, Ok(Reply::Done)));
    let (audience, create) = world.event("GUILD_CREATE").await;
    assert!(matches!(audience, Audience::Session(session) if session == ann.session));
    assert_eq!(create["channels"].as_array().unwrap().len(), 2);

    assert!(matches!(world.join(guild, Some(voice), &ann).await, Ok(Reply::Done)));
    let (_, state) = world.event("VOICE_STATE_UPDATE").await;
    assert_eq!(state["channel_id"], voice.to_string());
    let (_, server) = world.event("VOICE_SERVER_UPDATE").await;
    assert_eq!(server["endpoint"], "v1.test:443");
    let (text, key) = (server["token"].as_str().unwrap(), TokenKey::new(b"secret"));
    let token = VoiceToken::verify(text, &key, now(), guild, ann.session).unwrap();
    assert_eq!((token.user, token.channel, token.server.0.as_str()), (ann.id, voice, "v1"));
    let order = next_order(&mut orders).await;
    assert_eq!((order.guild, order.fencing > 0), (guild, true));
    assert!(matches!(order.kind, OrderKind::Push(participants) if participants.len() == 1));

    // Once live, naming the channel again says nothing; once gone, it is told anew.
    let report = |live: bool| {
        let (server, user, session) = (ServerId("v1".to_owned()), ann.id, ann.session);
        match live {
            true => Report::Live { server, guild, user, session },
            false => Report::Gone { server, guild, user, session },
        }
    };
    let reports = world.handle.reports();
    reports.send(report(true)).await.unwrap();
    reports.send(report(false)).await.unwrap();
    world.join(guild, None, &ann).await.unwrap();
    let (_, state) = world.event("VOICE_STATE_UPDATE").await;
    assert_eq!(state["channel_id"], Value::Null);
    assert!(matches!(next_order(&mut orders).await.kind, OrderKind::Remove { .. }));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_dead_voice_server_is_replaced_and_none_is_awaited() {
    let mut world = World::new().await;
    let ann = world.register("ann").await;
    let (guild, _, voice) = world.guild_of(&ann).await;
    world.attach(guild, &ann).await.unwrap();
    world.join(guild, Some(voice), &ann).await.unwrap();
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], Value::Null);

    let (mut first, _first) = world.voice_server("v1").await;
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v1.test:443");
    assert!(matches!(next_order(&mut first).await.kind, OrderKind::Push(_)));

    // Its registration lapses.
    let (mut second, second_registration) = world.voice_server("v2").await;
    world.until_known("v2").await;
    drop(_first);
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v2.test:443");
    assert!(matches!(next_order(&mut second).await.kind, OrderKind::Push(_)));

    // Its link breaks: found out by whoever sends the next order.
    drop(second);
    let bob = world.register("bob").await;
    world.add_member(guild, &bob).await;
    world.attach(guild, &bob).await.unwrap();
    world.join(guild, Some(voice), &bob).await.unwrap();
    loop {
        if world.event("VOICE_SERVER_UPDATE").await.1["endpoint"].is_null() {
            break;
        }
    }
    drop(second_registration);
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_person_is_in_one_channel_overall_and_a_bot_in_one_a_guild() {
    let mut world = World::new().await;
    let ann = world.register("ann").await;
    let made = body(
        world
            .rest(Some(ann.id), Op::CreateBot(rest::CreateBot { name: "robot".to_owned(), guild_id: None }))
            .await,
    );
    let bot = Person { id: id(&made["user_id"]), token: String::new(), session: SessionId(7) };
    let (one, _, voice_one) = world.guild_of(&ann).await;
    let (two, _, voice_two) = world.guild_of(&ann).await;
    for guild in [one, two] {
        world.add_member(guild, &bot).await;
        world.attach(guild, &ann).await.unwrap();
        world.attach(guild, &bot).await.unwrap();
    }
    for person in [&bot, &ann] {
        world.join(one, Some(voice_one), person).await.unwrap();
        world.join(two, Some(voice_two), person).await.unwrap();
    }
    loop {
        let (_, state) = world.event("VOICE_STATE_UPDATE").await;
        if state["channel_id"].is_null() {
            assert_eq!(
                (&state["user_id"], &state["guild_id"]),
                (&ann.id.to_string().into(), &one.to_string().into())
            );
            break;
        }
    }
    let state = |guild, user| world.rest(Some(ann.id), Op::GetVoiceState(guild, user));
    assert_eq!(refused(state(one, ann.id).await), (404, 10065));
    assert_eq!(body(state(two, ann.id).await)["channel_id"], voice_two.to_string());
    assert_eq!(body(state(one, bot.id).await)["channel_id"], voice_one.to_string());
    assert_eq!(body(state(two, bot.id).await)["channel_id"], voice_two.to_string());
    world.handle.shutdown().await;
}

#[tokio::test]
async fn channels_and_invites_find_their_guild() {
    let world = World::new().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (guild, text, voice) = world.guild_of(&ann).await;
    let say = |content: &str| {
        Op::CreateMessage(text, rest::MessageBody { content: Some(content.to_owned()), nonce: None })
    };
    let sent = body(world.rest(Some(ann.id), say("hello")).await);
    assert_eq!(refused(world.rest(Some(bob.id), say("hello")).await), (403, 50001));
    let list = Op::ListMessages { channel: text, limit: 50, before: None, after: None };
    let listed = body(world.rest(Some(ann.id), list.clone()).await);
    assert_eq!(listed[0]["id"], sent["id"]);
    assert_eq!(listed[0]["author"]["username"], "ann");
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetChannel(ChannelId(1))).await), (404, 10003));
    let tea = rest::VoiceStatusBody { status: rest::Patch::Set("tea".to_owned()) };
    let told = world.rest(Some(ann.id), Op::SetVoiceStatus(voice, tea)).await;
    assert!(matches!(told, Ok(Reply::Empty)), "{told:?}");
    let bees = rest::StageInstanceBody { topic: Some("bees".to_owned()), ..Default::default() };
    let nowhere = Op::CreateStageInstance(ChannelId(1), bees.clone());
    assert_eq!(refused(world.rest(Some(ann.id), nowhere).await), (404, 10003));
    assert_eq!(refused(world.rest(Some(ann.id), Op::CreateStageInstance(voice, bees)).await), (400, 50024));
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetStageInstance(voice)).await), (404, 10067));
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetGuild(GuildId(1))).await), (404, 10004));

    let invite = body(world.rest(Some(ann.id), Op::CreateInvite(text, rest::InviteBody::default())).await);
    let code = invite["code"].as_str().unwrap().to_owned();
    assert_eq!(
        body(world.rest(Some(bob.id), Op::GetInvite(code.clone())).await)["guild"]["id"],
        guild.to_string()
    );
    body(world.rest(Some(bob.id), Op::AcceptInvite(code)).await);
    assert_eq!(body(world.rest(Some(bob.id), list).await)[0]["content"], "hello");
    let guilds = body(world.rest(Some(bob.id), Op::ListGuilds).await);
    assert_eq!((&guilds[0]["id"], &guilds[0]["owner"]), (&guild.to_string().into(), &false.into()));
    assert_eq!(refused(world.rest(Some(bob.id), Op::AcceptInvite("nothing".to_owned())).await), (404, 10006));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_failed_write_is_an_error_and_changes_nothing() {
    let world = World::new().await;
    let ann = world.register("ann").await;
    let (guild, ..) = world.guild_of(&ann).await;
    // Behind the service's back the guild is gone, so that the next write has nothing to belong to.
    world.store.apply(&[model::Write::DeleteGuild(guild)]).await.unwrap();
    let channel = rest::ChannelBody { name: Some("c".to_owned()), ..rest::ChannelBody::default() };
    assert_eq!(refused(world.rest(Some(ann.id), Op::CreateChannel(guild, channel)).await), (500, 0));
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetGuild(guild)).await), (404, 10004));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn an_owner_of_old_writes_nothing_and_gives_the_guild_up() {
    let mut world = World::with(|config| config.is_one_of_many = true).await;
    let ann = world.register("ann").await;
    let (guild, ..) = world.guild_of(&ann).await;
    world.attach(guild, &ann).await.unwrap();
    let rename = |name: &str| {
        let body = rest::ModifyGuild { name: Some(name.to_owned()), ..rest::ModifyGuild::default() };
        Op::ModifyGuild(guild, body)
    };
    body(world.rest(Some(ann.id), rename("ours")).await);
    // Another has begun, and this one does not know it yet.
    world.store.own(store::Fence { guild, fencing: u64::MAX }).await.unwrap();
    assert_eq!(refused(world.rest(Some(ann.id), rename("of old")).await), (503, 0));
    assert_eq!(world.store.load_guild(guild).await.unwrap().unwrap().name, "ours");
    loop {
        match world.next_event().await {
            Event::OwnerLost { guild: lost } => {
                assert_eq!(lost, guild);
                break;
            }
            Event::Dispatch { dispatch, .. } => assert!(!format!("{dispatch:?}").contains("of old")),
            _ => {}
        }
    }
    // Nor does it read what is another's, as long as the registry gives it a lower number than the database knows.
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetGuild(guild)).await), (503, 0));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_deleted_guild_is_gone_for_everyone() {
    let mut world = World::new().await;
    let ann = world.register("ann").await;
    let (guild, text, _) = world.guild_of(&ann).await;
    world.attach(guild, &ann).await.unwrap();
    assert!(matches!(world.rest(Some(ann.id), Op::DeleteGuild(guild)).await, Ok(Reply::Empty)));
    loop {
        if let Event::Left { guild: of, user } = world.next_event().await {
            assert_eq!((of, user), (guild, ann.id));
            break;
        }
    }
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetGuild(guild)).await), (404, 10004));
    assert_eq!(refused(world.rest(Some(ann.id), Op::GetChannel(text)).await), (404, 10003));
    assert_eq!(refused(world.attach(guild, &ann).await), (404, 10004));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn after_shutdown_calls_are_refused() {
    let world = World::new().await;
    world.handle.shutdown().await;
    assert!(world.rest(None, Op::ListRegions).await.is_err());
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_listens_again() {
    let world = World::new().await;
    let (sender, mut slow) = mpsc::channel(1);
    world.handle.add_gateway(GATEWAY, sender);
    let ann = world.register("ann").await;
    let joined = |event| match event {
        Some(Event::Joined { guild, .. }) => Some(guild),
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    let (first, ..) = world.guild_of(&ann).await;
    world.guild_of(&ann).await;
    assert_eq!(joined(patient(slow.recv()).await), Some(first));
    assert_eq!(joined(patient(slow.recv()).await), None, "cut off at the one that it would miss");
    let mut again = world.link.clone().listen(GATEWAY).await.expect("guilds is there");
    let (third, ..) = world.guild_of(&ann).await;
    assert_eq!(joined(patient(again.recv()).await), Some(third));
    world.handle.shutdown().await;
    assert!(world.link.clone().listen(GATEWAY).await.is_none(), "nobody is there to listen to");
}

/// Its task ends with each answer, while others have just found it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_a_guild_whose_task_ends_is_answered_by_the_next_one() {
    let world = World::new().await;
    let ask = || {
        let link = world.link.clone();
        tokio::spawn(async move {
            for _ in 0..1_000 {
                let (actor, op) = (Some(UserId(1)), Op::ListChannels(GuildId(1)));
                let call = Call::Rest { actor, operator: false, reason: None, op };
                assert_eq!(refused(link.call(call).await).0, 404);
            }
        })
    };
    for asked in [ask(), ask(), ask(), ask()] {
        asked.await.unwrap();
    }
}
