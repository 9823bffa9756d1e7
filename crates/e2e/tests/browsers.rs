//! Real browsers in one channel with a bot and with our own client.
#![allow(clippy::unwrap_used)]

use e2e::{Bot, Browser, Engine, Library, Net, Server, Talk};

#[test]
fn first() {
    let net = Net::new();
    let server = Server::start_in(&net, 5, &[]);
    let channel = server.voice_channel(0);
    let mut chromium = Browser::start(Engine::Chromium, &net, &server, &server.user(1), 440);
    let mut firefox = Browser::start(Engine::Firefox, &net, &server, &server.user(2), 620);
    chromium.join(&channel);
    firefox.join(&channel);
    let mut bot = Bot::start(Library::Songbird, &server, &server.user(3));
    bot.join(&channel);
    bot.tone(830, true);
    let mut talk = Talk::start(&server, &server.user(4), &channel, &["--tone", "1130", "--seconds", "60"]);
    talk.connected();
    chromium.screenshot("first");
    firefox.screenshot("first");
    println!("{:?}", chromium.hear(2.0));
    println!("{:?}", firefox.hear(2.0));
    println!("{:?}", bot.hear(2.0));
    println!("{:?}", chromium.troubles());
    println!("{:?}", firefox.troubles());
}
