//! Messages: who may write, read and delete, and who is told what of the content.

use client_wire::rest::MessageBody;
use model::{Message, MessageId};

use super::*;

fn say(content: &str) -> MessageBody {
    MessageBody { content: Some(content.to_owned()), nonce: None }
}

fn knowing(author: UserId, ids: &[u64]) -> Facts {
    let message = |id: &u64| Message {
        id: MessageId(*id),
        channel: TEXT,
        author,
        content: "hello".to_owned(),
        edited_at: None,
    };
    Facts { messages: ids.iter().map(message).collect(), ..Facts::default() }
}

#[test]
fn a_message_reaches_those_who_see_the_channel() {
    let mut world = World::attached();
    world.deny(TEXT, OverwriteTarget::Member(CARL), Permissions::VIEW_CHANNEL);
    let sent = world.rest(ANN, Op::CreateMessage(TEXT, say("hi <@3> <@4> <@&301>")));
    expect(&sent, &["MESSAGE_CREATE to {2, 3}", "MESSAGE_CREATE but {2, 3, 4}"]);
    let event = &payloads(&sent, "MESSAGE_CREATE")[0];
    assert_eq!(event["member"]["user"], serde_json::Value::Null, "the author is the user");
    assert_eq!((&event["guild_id"], &event["author"]["id"]), (&"100".into(), &"2".into()));
    assert_eq!(event["mentions"].as_array().unwrap().len(), 2);
    assert_eq!(event["mention_roles"], serde_json::json!(["301"]));
    let others = sent.effects.iter().find_map(|effect| match effect {
        Effect::Dispatch(dispatch) => dispatch.without_content.clone(),
        _ => None,
    });
    let others: serde_json::Value =
        serde_json::from_str(others.expect("others may lack the intent").get()).unwrap();
    assert_eq!(others["content"], "");
    assert_eq!(
        world.core.guild.channel(TEXT).unwrap().last_message.unwrap().to_string(),
        event["id"].as_str().unwrap()
    );
    assert_eq!(body(&sent)["guild_id"], serde_json::Value::Null);
    world.check_invariants();
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let check = |content: Option<&str>, expect: (u16, u32)| {
        let mut world = World::attached();
        let body = MessageBody { content: content.map(str::to_owned), nonce: None };
        assert_eq!(error(&world.rest(ANN, Op::CreateMessage(TEXT, body))), expect);
    };
    check(None, (400, 50006));
    check(Some("  \n"), (400, 50006));
    check(Some(&"x".repeat(2_001)), (400, 50035));
    let mut world = World::attached();
    assert!(world.rest(ANN, Op::CreateMessage(TEXT, say(&"ü".repeat(2_000)))).reply.is_ok());
    world.deny(TEXT, OverwriteTarget::Member(ANN), Permissions::SEND_MESSAGES);
    assert_eq!(error(&world.rest(ANN, Op::CreateMessage(TEXT, say("x")))), (403, 50013));
    assert_eq!(error(&world.rest(ANN, Op::Typing(TEXT))), (403, 50013));
    assert_eq!(error(&world.rest(UserId(50), Op::CreateMessage(TEXT, say("x")))), (403, 50001));
    expect(&world.rest(BOB, Op::Typing(TEXT)), &["TYPING_START"]);
}

#[test]
fn mentioning_everyone_needs_its_permission() {
    let mut world = World::attached();
    let says = |world: &mut World| {
        body(&world.rest(ANN, Op::CreateMessage(TEXT, say("@everyone"))))["mention_everyone"].clone()
    };
    assert_eq!(says(&mut world), false);
    world.grant(EVERYONE, Permissions::MENTION_EVERYONE);
    assert_eq!(says(&mut world), true);
}

#[test]
fn authors_edit_and_delete_and_moderators_delete() {
    let mut world = World::attached();
    world.give_role(BOB, HIGH);
    world.grant(HIGH, Permissions::MANAGE_MESSAGES);
    let id = MessageId(7);
    let edit = |actor| rest_call(actor, Op::EditMessage(TEXT, id, say("new")));
    let delete = |actor| rest_call(actor, Op::DeleteMessage(TEXT, id));
    let edited = world.call_knowing(knowing(ANN, &[7]), edit(ANN));
    assert_eq!(body(&edited)["edited_timestamp"], START.iso8601());
    assert_eq!(error(&world.call_knowing(knowing(ANN, &[7]), edit(BOB))), (403, 50005));
    assert_eq!(error(&world.call_knowing(Facts::default(), edit(ANN))), (404, 10008));
    assert_eq!(error(&world.call_knowing(knowing(ANN, &[7]), delete(CARL))), (403, 50013));
    expect(&world.call_knowing(knowing(ANN, &[7]), delete(ANN)), &["MESSAGE_DELETE"]);
    expect(&world.call_knowing(knowing(ANN, &[7]), delete(BOB)), &["MESSAGE_DELETE"]);

    let bulk = |actor, ids: &[u64]| {
        rest_call(actor, Op::BulkDeleteMessages(TEXT, ids.iter().copied().map(MessageId).collect()))
    };
    assert_eq!(error(&world.call_knowing(knowing(ANN, &[7, 8]), bulk(ANN, &[7, 8]))), (403, 50013));
    assert_eq!(error(&world.call_knowing(knowing(ANN, &[7]), bulk(BOB, &[7]))), (400, 50035));
    let deleted = world.call_knowing(knowing(ANN, &[7, 8]), bulk(BOB, &[7, 8, 9]));
    expect(&deleted, &["MESSAGE_DELETE_BULK"]);
    assert_eq!(deleted.writes.len(), 2);
}

#[test]
fn history_needs_its_permission() {
    let mut world = World::attached();
    let list = || rest_call(ANN, Op::ListMessages { channel: TEXT, limit: 50, before: None, after: None });
    let get = || rest_call(ANN, Op::GetMessage(TEXT, MessageId(7)));
    assert_eq!(body(&world.call_knowing(knowing(BOB, &[8, 7]), list())).as_array().unwrap().len(), 2);
    assert_eq!(body(&world.call_knowing(knowing(UserId(50), &[7]), get()))["author"]["id"], "50");
    world.deny(TEXT, OverwriteTarget::Member(ANN), Permissions::READ_MESSAGE_HISTORY);
    assert_eq!(body(&world.call_knowing(knowing(BOB, &[8, 7]), list())).as_array().unwrap().len(), 0);
    assert_eq!(error(&world.call_knowing(knowing(BOB, &[7]), get())), (403, 50013));
}
