//! What the libraries tell, turned into the events of the control protocol.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use serenity::all::{Context, EventHandler, Guild, Ready, ResumedEvent, VoiceState};
use songbird::events::context_data::{DisconnectData, DisconnectKind, DisconnectReason};
use songbird::id::ChannelId;
use songbird::{Call, CoreEvent, EventContext};
use tokio::sync::mpsc;

use crate::control::{Event, emit};
use crate::ears::Ears;
use crate::journal;

#[derive(Default)]
pub struct BotState {
    ears: Mutex<Ears>,
    place: Mutex<Place>,
}

/// Where the voice connection is, and where a join that is under way should lead.
#[derive(Default)]
struct Place {
    joining: Option<ChannelId>,
    connected: Option<ChannelId>,
}

impl BotState {
    pub fn ears(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().expect("no holder of this lock panics")
    }

    pub fn expect_join(&self, channel: ChannelId) {
        self.place().joining = Some(channel);
    }

    pub fn forget_join(&self, channel: ChannelId) {
        self.place().joining.take_if(|joining| *joining == channel);
    }

    pub fn is_connected(&self) -> bool {
        self.place().connected.is_some()
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().expect("no holder of this lock panics")
    }

    /// A connection that was asked for is a join; one that was not is a move, or in the same channel a new server.
    fn connected(&self, channel: ChannelId) -> Event {
        let mut place = self.place();
        let before = place.connected.replace(channel);
        let (name, mode) = (channel.to_string(), journal::mode());
        if place.joining.take_if(|joining| *joining == channel).is_some() {
            Event::Joined { channel: name, mode }
        } else if before == Some(channel) {
            Event::VoiceReconnected
        } else {
            Event::Moved { channel: name, mode }
        }
    }

    fn disconnected(&self, data: &DisconnectData<'_>) -> Option<Event> {
        // A failed join is told by the join itself.
        if data.kind == DisconnectKind::Connect {
            return None;
        }
        self.place().connected = None;
        let code = match data.reason {
            Some(DisconnectReason::WsClosed(code)) => code.map(|code| code as u16),
            _ => None,
        };
        Some(Event::Disconnected { code })
    }
}

pub struct GatewayEvents {
    pub ready: mpsc::Sender<()>,
}

#[async_trait::async_trait]
impl EventHandler for GatewayEvents {
    async fn ready(&self, _: Context, ready: Ready) {
        emit(&Event::Ready { user: ready.user.id.to_string() });
        // Full after the first READY of several: the bot is under way then.
        if self.ready.try_send(()).is_err() {
            log::debug!("identified again");
        }
    }

    async fn guild_create(&self, _: Context, guild: Guild, _: Option<bool>) {
        emit(&Event::Guild {
            id: guild.id.to_string(),
            channels: guild.channels.len(),
            members: guild.members.len(),
        });
    }

    async fn resume(&self, _: Context, _: ResumedEvent) {
        emit(&Event::Resumed);
    }

    async fn voice_state_update(&self, _: Context, _: Option<VoiceState>, new: VoiceState) {
        emit(&Event::VoiceState {
            user: new.user_id.to_string(),
            channel: new.channel_id.map(|id| id.to_string()),
            mute: new.mute,
            deaf: new.deaf,
        });
    }
}

#[derive(Clone)]
pub struct VoiceEvents {
    state: Arc<BotState>,
}

impl VoiceEvents {
    pub async fn register(call: &tokio::sync::Mutex<Call>, state: &Arc<BotState>) {
        let mut call = call.lock().await;
        for event in [
            CoreEvent::SpeakingStateUpdate,
            CoreEvent::VoiceTick,
            CoreEvent::RtpPacket,
            CoreEvent::DriverConnect,
            CoreEvent::DriverReconnect,
            CoreEvent::DriverDisconnect,
        ] {
            call.add_global_event(event.into(), Self { state: state.clone() });
        }
    }
}

#[async_trait::async_trait]
impl songbird::EventHandler for VoiceEvents {
    async fn act(&self, context: &EventContext<'_>) -> Option<songbird::Event> {
        match context {
            EventContext::SpeakingStateUpdate(speaking) => {
                let user = speaking.user_id.map(|id| id.0.to_string());
                if let Some(user) = &user {
                    self.state.ears().introduce(speaking.ssrc, user.clone());
                }
                emit(&Event::Speaking { user, ssrc: speaking.ssrc });
            }
            EventContext::RtpPacket(data) => {
                let packet = data.rtp();
                self.state.ears().packet(Instant::now(), packet.get_ssrc(), packet.get_sequence().0.0);
            }
            EventContext::VoiceTick(tick) => {
                let mut ears = self.state.ears();
                for (ssrc, voice) in &tick.speaking {
                    ears.sound(*ssrc, voice.decoded_voice.as_deref().unwrap_or_default());
                }
            }
            EventContext::DriverConnect(data) => emit(&self.state.connected(data.channel_id)),
            EventContext::DriverReconnect(_) if journal::was_resumed() => emit(&Event::VoiceResumed),
            EventContext::DriverReconnect(_) => emit(&Event::VoiceReconnected),
            EventContext::DriverDisconnect(data) => {
                if let Some(event) = self.state.disconnected(data) {
                    emit(&event);
                }
            }
            _ => {}
        }
        None
    }
}
