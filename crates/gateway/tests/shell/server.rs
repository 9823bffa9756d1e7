//! A gateway with a guilds behind it that keeps a record of what it was asked, and a client that speaks
//! WebSocket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client_wire::error::{ApiError, code};
use client_wire::gateway::{FromServer, Ready};
use cluster_wire::guilds::{
    Account, Audience, Call, CallResult, Dispatch, Event, Json, Op, Reply, TokenMark,
};
use cluster_wire::link::{EventSender, GuildsLink, ToGuilds};
use futures_util::{SinkExt as _, StreamExt as _};
use gateway::{Gateway, GatewayConfig, GatewayHandle};
use model::{GuildId, UserId};
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const GUILD: GuildId = GuildId(10);

pub fn json(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap().into()
}

/// What guilds was asked.
#[derive(Default)]
pub struct Asked {
    calls: Mutex<Vec<Call>>,
    more: Notify,
}

impl Asked {
    /// The first call for which `choose` has an answer, now or later.
    pub async fn find<T>(&self, choose: impl Fn(&Call) -> Option<T>) -> T {
        let wait = async {
            loop {
                let mut more = std::pin::pin!(self.more.notified());
                // Listening begins before looking, so that nothing is missed in between.
                more.as_mut().enable();
                if let Some(found) = self.calls.lock().unwrap().iter().find_map(&choose) {
                    return found;
                }
                more.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("guilds is asked in time")
    }
}

/// Where the gateway is told events; nowhere while it is cut off.
type Events = Arc<Mutex<Option<EventSender>>>;

pub struct Server {
    pub handle: GatewayHandle,
    pub addr: SocketAddr,
    pub events: Events,
    pub asked: Arc<Asked>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    pub async fn with(config: GatewayConfig) -> Self {
        let (calls, asked_calls) = mpsc::channel(64);
        let (events, node_events) = mpsc::channel(1_024);
        let asked = Arc::new(Asked::default());
        let events: Events = Arc::new(Mutex::new(Some(events)));
        tokio::spawn(guilds(asked_calls, events.clone(), asked.clone()));
        let handle = Gateway::start(config, GuildsLink::new(calls), node_events).await.unwrap();
        Self { addr: handle.local_addr(), handle, events, asked }
    }

    pub async fn dispatch(&self, t: &'static str, d: &str) {
        let dispatch = Dispatch {
            t,
            d: json(d),
            without_content: None,
            intents: 0,
            audience: Audience::Guild,
            always: None,
            note: None,
        };
        let events = self.events.lock().unwrap().clone().expect("the gateway listens");
        events.send(Event::Dispatch { guild: GUILD, dispatch }).await.unwrap();
    }

    /// As guilds does with a gateway that has fallen too far behind.
    pub fn cut_off(&self) {
        *self.events.lock().unwrap() = None;
    }

    pub async fn connect(&self) -> Client {
        Client::connect(&format!("ws://{}/?v=10&encoding=json", self.addr)).await
    }

    /// A client of alice's that has seen READY and its guild.
    pub async fn live(&self) -> (Client, Ready) {
        let mut client = self.connect().await;
        client.hello().await;
        client.send(r#"{"op":2,"d":{"token":"Bot alice","intents":33281}}"#).await;
        let (_, ready) = client.dispatch("READY").await;
        client.dispatch("GUILD_CREATE").await;
        (client, serde_json::from_str(ready.get()).unwrap())
    }
}

async fn guilds(mut calls: mpsc::Receiver<ToGuilds>, events: Events, asked: Arc<Asked>) {
    while let Some(message) = calls.recv().await {
        let (call, reply) = match message {
            ToGuilds::Call(call, reply) => (call, reply),
            ToGuilds::Listen(_, again) => {
                *events.lock().unwrap() = Some(again);
                continue;
            }
        };
        let answer = answer(&call);
        let attach = match &call {
            Call::Attach { guild, session, .. } => Some((*guild, *session)),
            _ => None,
        };
        asked.calls.lock().unwrap().push(call);
        asked.more.notify_waiters();
        // Whoever asked may have gone.
        let _ = reply.send(answer);
        if let Some((guild, session)) = attach {
            let d = json(&format!(r#"{{"id":"{guild}","unavailable":false}}"#));
            let audience = Audience::Session(session);
            let dispatch = Dispatch {
                t: "GUILD_CREATE",
                d,
                without_content: None,
                intents: 1,
                audience,
                always: None,
                note: None,
            };
            let events = events.lock().unwrap().clone();
            if let Some(events) = events {
                let _ = events.send(Event::Dispatch { guild, dispatch }).await;
            }
        }
    }
}

fn answer(call: &Call) -> CallResult {
    match call {
        Call::Authenticate { token } => {
            let account = |user, bot, operator| {
                let json = json(&format!(r#"{{"id":"{user}","username":"user {user}"}}"#));
                let token = TokenMark([7; 8]);
                let guilds = vec![GUILD];
                Ok(Reply::Account(Account { user: UserId(user), bot, operator, token, json, guilds }))
            };
            match token.trim_start_matches("Bot ") {
                "alice" => account(1, true, false),
                "person" => account(2, false, false),
                "operator" => account(0, false, true),
                _ => Err(ApiError::unauthorized()),
            }
        }
        Call::Rest { op: Op::GetGuild(GuildId(404)), .. } => {
            Err(ApiError::not_found(code::UNKNOWN_GUILD, "Guild"))
        }
        Call::Rest { op: Op::Typing(_) | Op::DeleteChannel(_), .. } => Ok(Reply::Empty),
        Call::Rest { op: Op::CreateGuild(_), .. } => Ok(Reply::Json(201, json(r#"{"id":"7"}"#))),
        Call::Rest { actor, operator, reason, op } => {
            let text = serde_json::json!({
                "actor": actor.map(|user| user.0),
                "operator": operator,
                "reason": reason,
                "op": format!("{op:?}"),
            });
            Ok(Reply::Json(200, json(&text.to_string())))
        }
        _ => Ok(Reply::Done),
    }
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub async fn connect(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.unwrap();
        Self { socket }
    }

    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn message(&mut self) -> Option<Message> {
        let message =
            tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message comes in time");
        message.and_then(Result::ok)
    }

    pub async fn frame(&mut self) -> FromServer {
        match self.message().await {
            Some(Message::Text(text)) => FromServer::parse(text.as_bytes()).unwrap(),
            other => panic!("a frame was expected, not {other:?}"),
        }
    }

    pub async fn hello(&mut self) {
        let frame = self.frame().await;
        assert!(matches!(frame, FromServer::Hello { heartbeat_interval_ms: 41_250 }), "{frame:?}");
    }

    /// The next frame, which is this dispatch.
    pub async fn dispatch(&mut self, name: &str) -> (u64, Box<RawValue>) {
        match self.frame().await {
            FromServer::Dispatch { seq, t, d } if t == name => (seq, d),
            other => panic!("{name} was expected, not {other:?}"),
        }
    }

    /// The close code that ends the connection; frames before it are passed over.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.message().await {
                Some(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Some(_) => {}
                None => return None,
            }
        }
    }
}
