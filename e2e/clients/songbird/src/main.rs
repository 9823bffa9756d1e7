//! A test bot: serenity and songbird as published, told what to do by one JSON object a line.
//!
//! Owns: the wiring of the library, and the command loop. Not here: what the events mean (`events`), what was
//! heard (`ears`), and any change of the library's behaviour; the server is right when this bot works.

mod control;
mod cut;
mod ears;
mod events;
mod journal;
mod options;
mod spectrum;
mod tone;

use std::sync::Arc;
use std::time::Duration;

use serenity::all::{ClientBuilder, GatewayIntents, GuildId};
use serenity::http::{Http, HttpBuilder};
use songbird::tracks::TrackHandle;
use songbird::{Config, SerenityInit, Songbird, driver::DecodeMode};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::mpsc;

use control::{Command, Event, emit};
use ears::Ears;
use events::{BotState, GatewayEvents, VoiceEvents};
use options::Options;

#[tokio::main(worker_threads = 2)]
async fn main() -> std::process::ExitCode {
    control::at_ms(std::time::Instant::now());
    journal::install();
    rustls::crypto::ring::default_provider().install_default().expect("nothing else installs a provider");
    let options = match Options::from_arguments(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{}", options::USAGE);
            return 2.into();
        }
    };
    match run(options).await {
        Ok(()) => 0.into(),
        Err(message) => {
            emit(&Event::Error { message });
            1.into()
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    let http = HttpBuilder::new(&options.token).proxy(options.origin()).ratelimiter_disabled(true).build();
    let state = Arc::new(BotState::default());
    let voice =
        Songbird::serenity_from_config(Config::default().decode_mode(DecodeMode::Decode(Default::default())));
    let (ready, on_ready) = mpsc::channel(1);
    let mut client =
        ClientBuilder::new_with_http(http, GatewayIntents::GUILDS | GatewayIntents::GUILD_VOICE_STATES)
            .event_handler(GatewayEvents { ready })
            .register_songbird_with(voice.clone())
            .await
            .map_err(|why| format!("cannot build the client: {why}"))?;
    let bot = Bot {
        http: client.http.clone(),
        voice,
        guild: GuildId::new(options.guild),
        gateway: options.gateway.clone(),
        state,
        tone: None,
    };
    let shards = client.shard_manager.clone();
    let outcome = tokio::select! {
        ended = client.start() => ended.map_err(|why| format!("the gateway connection ended: {why}")),
        () = bot.obey(on_ready) => Ok(()),
    };
    shards.shutdown_all().await;
    outcome
}

struct Bot {
    http: Arc<Http>,
    voice: Arc<Songbird>,
    guild: GuildId,
    gateway: Option<String>,
    state: Arc<BotState>,
    tone: Option<TrackHandle>,
}

impl Bot {
    /// Carries out commands until told to quit, or until whoever gives them is gone.
    async fn obey(mut self, mut on_ready: mpsc::Receiver<()>) {
        // songbird knows its own user only after READY, and a call made before that could never join.
        if on_ready.recv().await.is_none() {
            return;
        }
        VoiceEvents::register(&self.voice.get_or_insert(self.guild), &self.state).await;
        let mut lines = BufReader::new(stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let done = match serde_json::from_str(&line) {
                Ok(Command::Quit) => break,
                Ok(command) => self.carry_out(command).await,
                Err(why) => Err(format!("not a command: {why}: {line}")),
            };
            if let Err(message) = done {
                emit(&Event::Error { message });
            }
        }
        if let Err(why) = self.voice.remove(self.guild).await {
            log::debug!("nothing to leave: {why}");
        }
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Join { channel } => self.join(channel.0),
            Command::Leave => {
                self.voice.leave(self.guild).await.map_err(|why| format!("cannot leave: {why}"))?
            }
            Command::Tone { hz, on } => self.tone(hz, on).await,
            Command::Hear { seconds } => self.hear(Duration::from_secs_f64(seconds)),
            Command::CutVoiceWs => cut::streams_to(&self.voice_endpoint().await?).await?,
            Command::CutGatewayWs => cut::streams_to(&self.gateway_endpoint().await?).await?,
            Command::State => self.report_state().await,
            Command::Quit => unreachable!("the command loop ends before it carries this out"),
        }
        Ok(())
    }

    /// Joins in the background: the command loop must stay able to cut sockets while a join is under way.
    fn join(&self, channel: u64) {
        let channel = songbird::id::ChannelId::from(serenity::all::ChannelId::new(channel));
        let (voice, state, guild) = (self.voice.clone(), self.state.clone(), self.guild);
        state.expect_join(channel);
        tokio::spawn(async move {
            if let Err(why) = voice.join(guild, channel).await {
                state.forget_join(channel);
                emit(&Event::Error { message: format!("cannot join {channel}: {why}") });
            }
        });
    }

    async fn tone(&mut self, hz: f32, on: bool) {
        if let Some(previous) = self.tone.take()
            && let Err(why) = previous.stop()
        {
            log::debug!("the tone had already ended: {why}");
        }
        if on {
            let call = self.voice.get_or_insert(self.guild);
            self.tone = Some(call.lock().await.play_input(tone::endless(hz)));
        }
    }

    fn hear(&self, interval: Duration) {
        let state = self.state.clone();
        state.ears().listen();
        tokio::spawn(async move {
            tokio::time::sleep(interval).await;
            let window = state.ears().take_window();
            // The spectrum takes a while: not on a thread which has packets to receive.
            tokio::task::spawn_blocking(move || emit(&Ears::report(window)));
        });
    }

    async fn report_state(&self) {
        let call = self.voice.get_or_insert(self.guild);
        let call = call.lock().await;
        let connected = self.state.is_connected();
        emit(&Event::State {
            channel: call.current_channel().map(|id| id.to_string()),
            connected,
            mode: journal::mode().filter(|_| connected),
        });
    }

    async fn voice_endpoint(&self) -> Result<String, String> {
        let call = self.voice.get_or_insert(self.guild);
        let call = call.lock().await;
        let connection = call.current_connection().ok_or("there is no voice connection to cut")?;
        Ok(connection.endpoint.clone())
    }

    async fn gateway_endpoint(&self) -> Result<String, String> {
        if let Some(url) = &self.gateway {
            return Ok(url.clone());
        }
        let gateway = self.http.get_gateway().await;
        gateway.map(|gateway| gateway.url).map_err(|why| format!("cannot ask where the gateway is: {why}"))
    }
}
