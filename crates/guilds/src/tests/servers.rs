//! Voice servers that are drained, fall behind, or never see their clients.

use super::*;

#[tokio::test]
async fn the_operator_drains_a_voice_server_and_takes_it_back() {
    let world = World::new().await;
    let (mut orders, _registration) = world.voice_server("v1").await;
    world.until_known("v1").await;
    let modify = |server: &str, draining| {
        Op::AdminModifyServer(
            ServerId(server.to_owned()),
            rest::ModifyServer { draining, upgrade_relay: None },
        )
    };
    for draining in [true, false] {
        let shown = body(world.operate(modify("v1", Some(draining))).await);
        assert_eq!((&shown["id"], &shown["draining"]), (&"v1".into(), &draining.into()));
        assert_eq!(patient(orders.recv()).await, Some(ToVoice::SetDraining(draining)));
    }
    assert_eq!(body(world.operate(modify("v1", None)).await)["id"], "v1");
    assert_eq!(world.operate(modify("v2", Some(true))).await.unwrap_err().status, 404);
    drop(orders);
    assert_eq!(world.operate(modify("v1", Some(true))).await.unwrap_err().status, 503);
    world.handle.shutdown().await;
}

#[tokio::test]
async fn the_operator_wishes_for_another_relay_and_reads_in_the_record_what_came_of_it() {
    let world = World::new().await;
    let (mut orders, mut registration) = world.voice_server("v1").await;
    world.until_known("v1").await;
    let wish = |program: Option<&str>| {
        let upgrade_relay = Some(rest::UpgradeRelay { program: program.map(str::to_owned) });
        Op::AdminModifyServer(ServerId("v1".to_owned()), rest::ModifyServer { draining: None, upgrade_relay })
    };
    assert_eq!(world.operate(wish(Some("sfu"))).await.unwrap_err().status, 400);
    let mut before = 0;
    for program in [None, Some("/opt/guildhall")] {
        let shown = body(world.operate(wish(program)).await);
        let upgrade = &shown["relay"]["upgrade"];
        assert_eq!((&upgrade["state"], &upgrade["error"]), (&"underway".into(), &Value::Null));
        let wished =
            ToVoice::UpgradeRelay { number: id(&upgrade["number"]), program: program.map(str::to_owned) };
        assert_eq!(patient(orders.recv()).await, Some(wished));
        assert!(id::<u64>(&upgrade["number"]) > before, "a later wish has a higher number");
        before = id(&upgrade["number"]);
    }
    let outcome = UpgradeOutcome::Failed("it ended".to_owned());
    let relay = RelayStatus { upgrade: Some(Upgrade { number: before, outcome }), ..RelayStatus::default() };
    registration.update(ServerRecord { relay, ..record("v1") }).await.unwrap();
    let shown = patient(async {
        loop {
            let shown = body(world.operate(Op::AdminServers).await);
            if shown[0]["relay"]["upgrade"]["state"] == "failed" {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(shown.await[0]["relay"]["upgrade"]["error"], "it ended");
    world.handle.shutdown().await;
}

#[tokio::test]
async fn a_voice_server_that_fell_behind_is_told_the_whole_truth_when_it_has_caught_up() {
    let mut world = World::new().await;
    let _registration = world.registry.publish(record("v1")).await.unwrap();
    world.until_known("v1").await;
    let (sender, mut orders) = mpsc::channel(2);
    world.handle.add_voice(ServerId("v1".to_owned()), VoiceLink::new(sender));
    let (ann, bob, carl) =
        (world.register("ann").await, world.register("bob").await, world.register("carl").await);
    let ((one, _, voice_one), ()) = tokio::join!(world.guild_of(&ann), world.hold_nothing(&mut orders));
    let ((two, _, voice_two), ()) = tokio::join!(world.guild_of(&carl), world.hold_nothing(&mut orders));
    world.add_member(one, &bob).await;
    for (guild, person) in [(one, &ann), (one, &bob), (two, &carl)] {
        world.attach(guild, person).await.unwrap();
    }
    // There is room for the first order and for what is kept of the channel, and none for those that follow.
    world.join(one, Some(voice_one), &ann).await.unwrap();
    world.join(one, Some(voice_one), &bob).await.unwrap();
    world.join(one, None, &ann).await.unwrap();
    for _ in [&ann, &bob] {
        assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v1.test:443");
    }
    // Meanwhile no guild is placed there.
    world.join(two, Some(voice_two), &carl).await.unwrap();
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], Value::Null);

    let users = |order: &Order| match &order.kind {
        OrderKind::Push(participants) => participants.iter().map(|p| p.user).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(users(&next_order(&mut orders).await), [ann.id], "what it had not taken yet");
    assert!(matches!(next_order(&mut orders).await.kind, OrderKind::Channel(_)));
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    while ones.is_empty() || twos.is_empty() {
        let order = next_order(&mut orders).await;
        if matches!(order.kind, OrderKind::Channel(_)) {
            continue;
        }
        if order.guild == one { &mut ones } else { &mut twos }.push(users(&order));
    }
    assert_eq!((&ones[0][..], &twos[0][..]), (&[bob.id][..], &[carl.id][..]));
    assert_eq!(world.event("VOICE_SERVER_UPDATE").await.1["endpoint"], "v1.test:443");
    world.handle.shutdown().await;
}

#[tokio::test]
async fn whoever_never_comes_to_its_voice_server_leaves() {
    let mut world = World::with(|config| config.voice_absence = Duration::from_millis(20)).await;
    let (_orders, _registration) = world.voice_server("v1").await;
    world.until_known("v1").await;
    let ann = world.register("ann").await;
    let (guild, _, voice) = world.guild_of(&ann).await;
    world.attach(guild, &ann).await.unwrap();
    world.join(guild, Some(voice), &ann).await.unwrap();
    assert_eq!(world.event("VOICE_STATE_UPDATE").await.1["channel_id"], voice.to_string());
    assert_eq!(world.event("VOICE_STATE_UPDATE").await.1["channel_id"], Value::Null);
    let state = world.rest(Some(ann.id), Op::GetVoiceState(guild, ann.id)).await;
    assert_eq!(refused(state), (404, 10065));
    world.handle.shutdown().await;
}
