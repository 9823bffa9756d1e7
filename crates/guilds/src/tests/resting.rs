//! Guilds that nobody uses leave memory, and nothing is lost or doubled by it.

use super::*;

impl World {
    /// Guilds that rest as soon as nobody makes use of them.
    async fn restful() -> Self {
        Self::with(|config| config.guild_rest = Duration::from_millis(1)).await
    }

    async fn until_at_rest(&self) {
        let resting = async {
            while self.handle.guilds_in_memory() > 0 {
                tokio::task::yield_now().await;
            }
        };
        patient(resting).await;
    }

    async fn detach(&self, guild: GuildId, person: &Person) {
        let (user, session) = (person.id, person.session);
        self.link.call(Call::Detach { guild, user, session, gateway: GATEWAY }).await.unwrap();
    }
}

#[tokio::test]
async fn a_guild_that_nobody_uses_leaves_memory_and_comes_back_as_it_was() {
    let mut world = World::restful().await;
    let (mut orders, _registration) = world.voice_server("v1").await;
    world.until_known("v1").await;
    let ann = world.register("ann").await;
    let (guild, text, voice) = world.guild_of(&ann).await;
    let mut fencing = 0;
    for visit in 0..3 {
        world.attach(guild, &ann).await.unwrap();
        let created = world.event("GUILD_CREATE").await.1;
        assert_eq!(created["voice_states"], serde_json::json!([]));
        let channel = created["channels"].as_array().unwrap().iter().find(|c| c["id"] == text.to_string());
        let said = body(
            world
                .rest(Some(ann.id), Op::ListMessages { channel: text, limit: 5, before: None, after: None })
                .await,
        );
        assert_eq!(said.as_array().unwrap().len(), visit);
        assert_eq!(channel.unwrap()["last_message_id"], said.get(0).map_or(Value::Null, |m| m["id"].clone()));
        let message = rest::MessageBody { content: Some("here".to_owned()), nonce: None };
        body(world.rest(Some(ann.id), Op::CreateMessage(text, message)).await);
        world.join(guild, Some(voice), &ann).await.unwrap();
        let placed = next_order(&mut orders).await;
        assert!(matches!(&placed.kind, OrderKind::Push(p) if p.len() == 1), "{placed:?}");
        assert!(placed.fencing > fencing, "it was read anew, and orders of its former life are refused");
        fencing = placed.fencing;
        assert_eq!(world.event("VOICE_STATE_UPDATE").await.1["channel_id"], voice.to_string());
        world.detach(guild, &ann).await;
        assert_eq!(world.event("VOICE_STATE_UPDATE").await.1["channel_id"], Value::Null, "before it rests");
        for _ in 0..2 {
            let left = next_order(&mut orders).await;
            assert!(matches!(left.kind, OrderKind::Remove { .. } | OrderKind::Drop), "{left:?}");
            assert_eq!(left.fencing, fencing);
        }
        world.until_at_rest().await;
    }
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_guild_in_use_stays_and_what_concerns_nobody_wakes_none() {
    let world = World::restful().await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let (anns, ..) = world.guild_of(&ann).await;
    let (bobs, ..) = world.guild_of(&bob).await;
    world.attach(anns, &ann).await.unwrap();
    let only_anns = async {
        while world.handle.guilds_in_memory() > 1 {
            tokio::task::yield_now().await;
        }
    };
    patient(only_anns).await;
    // The end of a session that nobody knows any more, and a fleet that changes.
    world.detach(bobs, &bob).await;
    let (_orders, _registration) = world.voice_server("v1").await;
    world.until_known("v1").await;
    world.detach(bobs, &bob).await;
    assert_eq!(world.handle.guilds_in_memory(), 1);
    body(world.rest(Some(bob.id), Op::ListGuilds).await);
    patient(only_again(&world)).await;
    world.detach(anns, &ann).await;
    world.until_at_rest().await;
    world.handle.shutdown().await;
}

/// Until one guild is in memory again.
async fn only_again(world: &World) {
    while world.handle.guilds_in_memory() != 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_that_meet_a_guild_on_its_way_to_rest_are_answered_in_their_order() {
    let mut world = World::restful().await;
    let ann = world.register("ann").await;
    let (guild, text, _) = world.guild_of(&ann).await;
    for n in 0..200 {
        let message = rest::MessageBody { content: Some(n.to_string()), nonce: None };
        let told = world.rest(Some(ann.id), Op::CreateMessage(text, message));
        let typing = world.rest(Some(ann.id), Op::Typing(text));
        let (told, typing) = tokio::join!(told, typing);
        assert_eq!(body(told)["content"], n.to_string());
        assert!(matches!(typing, Ok(Reply::Empty)), "{typing:?}");
        // Some of them while it lives, some while it rests, and some in between.
        if n % 3 == 0 {
            world.until_at_rest().await;
        }
    }
    for n in 0..200 {
        assert_eq!(world.event("MESSAGE_CREATE").await.1["content"], n.to_string());
    }
    assert_eq!(body(world.rest(Some(ann.id), Op::GetGuild(guild)).await)["id"], guild.to_string());
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_voice_server_that_missed_the_end_of_a_guild_at_rest_is_told_it() {
    let mut world = World::restful().await;
    let _registration = world.registry.publish(record("v1")).await.unwrap();
    world.until_known("v1").await;
    let (sender, mut orders) = mpsc::channel(2);
    world.handle.add_voice(ServerId("v1".to_owned()), VoiceLink::new(sender));
    let ann = world.register("ann").await;
    let ((guild, _, voice), ()) = tokio::join!(world.guild_of(&ann), world.hold_nothing(&mut orders));
    world.attach(guild, &ann).await.unwrap();
    world.join(guild, Some(voice), &ann).await.unwrap();
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v1.test:443");
    // There was room for the first order and for what is kept of the channel, and none for her leaving.
    world.detach(guild, &ann).await;
    world.until_at_rest().await;
    let placed = next_order(&mut orders).await;
    assert!(matches!(placed.kind, OrderKind::Push(_)), "{placed:?}");
    assert!(matches!(next_order(&mut orders).await.kind, OrderKind::Channel(_)));
    let dropped = next_order(&mut orders).await;
    assert_eq!((dropped.guild, dropped.fencing, &dropped.kind), (guild, placed.fencing, &OrderKind::Drop));
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_guild_that_cannot_be_read_back_refuses_and_is_tried_again() {
    let world = World::restful().await;
    let ann = world.register("ann").await;
    let (guild, ..) = world.guild_of(&ann).await;
    world.until_at_rest().await;
    world.store.close().await;
    for _ in 0..2 {
        assert_eq!(refused(world.rest(Some(ann.id), Op::GetGuild(guild)).await).0, 503);
    }
    // Not an empty list, by which she would believe to be in none.
    assert_eq!(refused(world.rest(Some(ann.id), Op::ListGuilds).await), (503, 0));
    world.handle.shutdown().await;
}
