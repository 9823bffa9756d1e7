use std::cell::RefCell;
use std::rc::{Rc, Weak};

use cluster_wire::guilds::{GatewayId, Op, Terms};
use model::{ChannelId, SessionId, UserId, VoiceFlags};

use super::*;
use crate::limits::ASK_AGAIN;

const GUILD: GuildId = GuildId(7);

type Calls = RefCell<Vec<(u64, Call)>>;

/// What a node was asked and has not looked at, as long as it reads its stream.
struct Queue {
    calls: Weak<Calls>,
    places: usize,
}

impl Way for Queue {
    fn has_room(&self) -> bool {
        self.calls.upgrade().is_some_and(|calls| calls.borrow().len() < self.places)
    }

    fn take(&mut self, id: u64, call: &Call) -> bool {
        let has_room = self.has_room();
        if let Some(calls) = self.calls.upgrade().filter(|_| has_room) {
            calls.borrow_mut().push((id, call.clone()));
        }
        has_room
    }
}

/// The number of a call in the order in which they were made.
type Number = usize;

struct World {
    routes: Routes<Queue, Number>,
    now: Instant,
    nodes: BTreeMap<String, Rc<Calls>>,
    calls: Number,
    answers: BTreeMap<Number, CallResult>,
    events: Vec<Event>,
}

impl World {
    fn new(nodes: &[&str]) -> Self {
        let mut world = Self {
            routes: Routes::default(),
            now: Instant::now(),
            nodes: BTreeMap::new(),
            calls: 0,
            answers: BTreeMap::new(),
            events: Vec::new(),
        };
        nodes.iter().for_each(|node| world.up(node));
        world
    }

    fn up(&mut self, node: &str) {
        self.up_with_places(node, 100);
    }

    fn up_with_places(&mut self, node: &str, places: usize) {
        let calls = Rc::default();
        self.routes.handle_up((node.to_owned(), 0), Queue { calls: Rc::downgrade(&calls), places });
        self.nodes.insert(node.to_owned(), calls);
        self.listen();
    }

    fn down(&mut self, node: &str) {
        self.nodes.remove(node);
        self.routes.handle_down(&(node.to_owned(), 0));
        self.listen();
    }

    fn call(&mut self, call: Call) -> Number {
        let number = self.calls;
        self.calls += 1;
        self.routes.handle_call(self.now, call, number);
        self.listen();
        number
    }

    fn listen(&mut self) {
        while let Some(output) = self.routes.poll_output() {
            match output {
                Output::Answer(number, result) => {
                    assert!(self.answers.insert(number, result).is_none(), "call {number} is answered twice");
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn status(&self, number: Number) -> Option<u16> {
        let answer = self.answers.get(&number);
        answer.map(|result| result.as_ref().map_or_else(|error| error.status, |_| 200))
    }

    /// The calls that reached a node, by their numbers.
    fn asked(&mut self, node: &str) -> Vec<(u64, Call)> {
        self.nodes[node].take()
    }

    fn numbers(&mut self, node: &str) -> Vec<u64> {
        self.asked(node).into_iter().map(|(id, _)| id).collect()
    }

    fn say(&mut self, node: &str, id: u64, result: CallResult) {
        self.routes.handle_said(self.now, &(node.to_owned(), 0), Said::Reply(id, result));
        self.listen();
    }

    fn says_not_here(&mut self, node: &str, id: u64, owner: &str) {
        self.say(node, id, Ok(Reply::NotHere { guild: GUILD, owner: Some(owner.to_owned()) }));
    }

    fn later(&mut self) {
        self.now += ASK_AGAIN;
        self.routes.handle_turn(self.now);
        self.listen();
    }

    fn lost(&mut self) -> usize {
        let lost = |event: &Event| matches!(event, Event::OwnerLost { guild } if *guild == GUILD);
        std::mem::take(&mut self.events).iter().filter(|event| lost(event)).count()
    }
}

fn attach(session: u128) -> Call {
    Call::Attach {
        guild: GUILD,
        user: UserId(1),
        session: SessionId(session),
        gateway: GatewayId(1),
        is_live: true,
        terms: Terms { intents: 0, shard: (0, 1), status: model::PresenceStatus::Online },
        seat: None,
        knows_seat: true,
    }
}

fn join() -> Call {
    let (user, session, flags) = (UserId(1), SessionId(1), VoiceFlags::default());
    Call::UpdateVoice { guild: GUILD, user, session, channel: Some(ChannelId(1)), flags }
}

#[test]
fn the_first_call_finds_the_owner_and_the_others_follow_it_in_order() {
    let mut world = World::new(&["a", "b"]);
    let first = rendezvous(world.routes.up.keys(), GUILD).unwrap();
    let other = if first == "a" { "b" } else { "a" };
    let answers: Vec<_> = (0..3).map(|n| world.call(attach(n))).collect();
    assert_eq!(world.numbers(&first), [0], "one asks for all");
    world.says_not_here(&first, 0, other);
    assert_eq!(world.numbers(other), [0]);
    world.say(other, 0, Ok(Reply::Done));
    assert_eq!(world.numbers(other), [1, 2]);
    let _fourth = world.call(attach(3));
    assert_eq!(world.numbers(other), [3], "nobody waits any more");
    assert_eq!(world.status(answers[0]), Some(200));
    assert!(world.numbers(&first).is_empty());
    assert_eq!(world.lost(), 0);
}

#[test]
fn what_a_dead_node_had_not_answered_is_asked_of_the_next_owner() {
    let mut world = World::new(&["a"]);
    let first = world.call(attach(1));
    world.numbers("a");
    world.say("a", 0, Ok(Reply::Done));
    let second = world.call(attach(2));
    let joins = world.call(join());
    let op = Op::DeleteGuild(GUILD);
    let deletes = world.call(Call::Rest { actor: None, operator: true, reason: None, op });
    world.up("b");
    world.down("a");
    assert_eq!(world.lost(), 1, "its sessions attach anew");
    assert_eq!((world.status(first), world.status(second)), (Some(200), None));
    assert_eq!(world.status(joins), Some(503), "the gateway says it again when the session is attached");
    assert_eq!(world.status(deletes), Some(503), "it may have been done");
    assert_eq!(world.numbers("b"), [1]);
    // The dead one's lease has not ended.
    world.says_not_here("b", 1, "a");
    assert!(world.numbers("b").is_empty());
    let _third = world.call(attach(3));
    world.later();
    assert_eq!(world.numbers("b"), [1]);
    world.say("b", 1, Ok(Reply::Done));
    assert_eq!(world.status(second), Some(200));
    assert_eq!(world.numbers("b"), [4]);
    assert_eq!(world.lost(), 0);
}

#[test]
fn an_owner_that_is_one_no_more_is_left_once_and_order_is_kept() {
    let mut world = World::new(&["a", "b"]);
    let _first = world.call(attach(0));
    let owner = if world.numbers("a").is_empty() { "b" } else { "a" }.to_owned();
    let other = if owner == "a" { "b" } else { "a" };
    world.say(&owner, 0, Ok(Reply::Done));
    world.numbers(&owner);
    let _answers: Vec<_> = (1..4).map(|n| world.call(attach(n))).collect();
    assert_eq!(world.numbers(&owner), [1, 2, 3]);
    world.says_not_here(&owner, 1, other);
    assert_eq!(world.lost(), 1);
    let _late = world.call(attach(4));
    world.says_not_here(&owner, 2, other);
    world.says_not_here(&owner, 3, other);
    assert_eq!(world.lost(), 0);
    assert_eq!(world.numbers(other), [1]);
    world.say(other, 1, Ok(Reply::Done));
    assert_eq!(world.numbers(other), [2, 3, 4]);
}

#[test]
fn nobody_waits_for_ever() {
    let mut world = World::new(&[]);
    let guild = world.call(attach(0));
    let account = world.call(Call::Authenticate { token: "t".to_owned() });
    world.later();
    assert_eq!((world.status(guild), world.status(account)), (None, None));
    world.now += CALL_PATIENCE;
    world.later();
    assert_eq!((world.status(guild), world.status(account)), (Some(503), Some(503)));
    assert_eq!(world.routes.waiting, 0);
    world.up("a");
    let _again = world.call(attach(0));
    assert_eq!(world.numbers("a").len(), 1);
}

#[test]
fn a_channels_guild_is_found_by_asking_anybody() {
    let mut world = World::new(&["a", "b"]);
    let op = Op::GetChannel(ChannelId(5));
    let answer = world.call(Call::Rest { actor: None, operator: true, reason: None, op });
    let asked = if world.numbers("a").is_empty() { "b" } else { "a" }.to_owned();
    let owner = if asked == "a" { "b" } else { "a" };
    world.numbers(&asked);
    world.says_not_here(&asked, 0, owner);
    world.later();
    let id = world.numbers(owner)[0];
    world.say(owner, id, Ok(Reply::Empty));
    assert_eq!(world.status(answer), Some(200));
}

#[test]
fn a_node_that_comes_or_goes_changes_nothing_for_the_guilds_of_others() {
    let three = ["a", "b", "c"].map(str::to_owned);
    let owner = |nodes: &[String], guild| rendezvous(nodes.iter(), GuildId(guild)).unwrap();
    let mut counts = BTreeMap::new();
    for guild in 0..3_000 {
        let before = owner(&three, guild);
        *counts.entry(before.clone()).or_insert(0) += 1;
        if before != "c" {
            assert_eq!(owner(&three[..2], guild), before);
        }
    }
    assert!(counts.values().all(|n| (900..1_100).contains(n)), "{counts:?}");
}

#[test]
fn what_a_node_does_not_take_now_waits_and_keeps_its_order() {
    let mut world = World::new(&[]);
    world.up_with_places("a", 2);
    let answers: Vec<_> = (0..6).map(|n| world.call(attach(n))).collect();
    assert_eq!(world.numbers("a"), [0]);
    world.say("a", 0, Ok(Reply::Done));
    let mut numbers = world.numbers("a");
    let _seventh = world.call(attach(6));
    for _ in 0..3 {
        world.later();
        numbers.extend(world.numbers("a"));
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    for id in 1..=5 {
        world.say("a", id, Ok(Reply::Done));
    }
    assert!(answers.iter().all(|answer| world.status(*answer) == Some(200)), "none was refused");
    assert_eq!(world.routes.waiting, 0);
}

#[test]
fn an_answer_that_comes_late_does_not_hold_up_what_has_an_owner_by_now() {
    let mut world = World::new(&["a", "b"]);
    let _first = world.call(attach(0));
    let owner = if world.numbers("a").is_empty() { "b" } else { "a" }.to_owned();
    let other = if owner == "a" { "b" } else { "a" };
    world.say(&owner, 0, Ok(Reply::Done));
    let _answers: Vec<_> = (1..4).map(|n| world.call(attach(n))).collect();
    world.numbers(&owner);
    world.says_not_here(&owner, 1, other);
    world.say(other, world.routes.guilds[&GUILD].asking.unwrap(), Ok(Reply::Done));
    world.numbers(other);
    world.says_not_here(&owner, 2, other);
    assert_eq!(world.numbers(other), [2]);
}

#[test]
fn a_guild_that_is_not_there_is_not_remembered() {
    let mut world = World::new(&["a"]);
    for guild in 1..100 {
        let op = Op::GetGuild(GuildId(guild));
        let _answer = world.call(Call::Rest { actor: None, operator: true, reason: None, op });
        let id = world.numbers("a")[0];
        world.say("a", id, Err(ApiError::new(404, 0, "Unknown Guild")));
    }
    assert!(world.routes.guilds.is_empty());
}

/// The end of a stream is known to who writes before it is told to who reads.
#[test]
fn a_node_whose_stream_has_broken_is_waited_for_and_not_asked_for_ever() {
    let mut world = World::new(&["a"]);
    let _first = world.call(attach(0));
    world.nodes.remove("a");
    let others = [world.call(attach(1)), world.call(attach(2))];
    world.later();
    world.down("a");
    world.up("b");
    assert_eq!(world.numbers("b"), [0]);
    world.say("b", 0, Ok(Reply::Done));
    assert_eq!(world.numbers("b"), [1, 2]);
    assert!(others.iter().all(|answer| world.status(*answer).is_none()));

    // The same where it is known to be the owner.
    world.nodes.remove("b");
    let third = world.call(attach(3));
    let joins = world.call(join());
    world.later();
    assert_eq!((world.status(third), world.status(joins)), (None, None));
    world.down("b");
    assert_eq!(world.status(joins), Some(503), "the gateway says it again when the session is attached");
    world.up("c");
    assert_eq!(world.numbers("c"), [1]);
}

/// While etcd is away nobody can look up whose a guild is, and a gateway may not know yet.
#[test]
fn where_a_node_cannot_find_out_whose_a_guild_is_the_next_one_is_asked() {
    let mut world = World::new(&["a", "b", "c"]);
    let cannot = || Ok(Reply::NotHere { guild: GUILD, owner: None });
    let unowned = world.call(attach(1));
    let mut asked = Vec::new();
    while !world.answers.contains_key(&unowned) {
        assert!(asked.len() < 3, "{asked:?}");
        let next = ["a", "b", "c"].map(|node| (node, world.numbers(node)));
        let [(node, id)] =
            next.iter().filter_map(|(node, ids)| Some((*node, *ids.first()?))).collect::<Vec<_>>()[..]
        else {
            panic!("one is asked at a time: {next:?}")
        };
        assert!(!asked.contains(&node), "{node} is asked again");
        asked.push(node);
        world.say(node, id, cannot());
    }
    assert_eq!(asked.len(), 3);

    // The last of them is the owner, and is asked first from then on.
    let owned = world.call(attach(2));
    for node in &asked[..2] {
        let [id] = world.numbers(node)[..] else { panic!("{node} is not asked") };
        world.say(node, id, cannot());
    }
    let [id] = world.numbers(asked[2])[..] else { panic!("{} is not asked", asked[2]) };
    world.say(asked[2], id, Ok(Reply::Done));
    assert!(matches!(world.answers[&owned], Ok(Reply::Done)));
    let _next = world.call(attach(3));
    assert_eq!(world.numbers(asked[2]).len(), 1);
}
