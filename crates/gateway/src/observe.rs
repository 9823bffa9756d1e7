//! Metrics: every name in one place.

use client_wire::gateway::CloseCode;
use gateway_core::{Notice, SessionEnd};
use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};

const CONNECTIONS: &str = "guildhall_gateway_connections";
const SESSIONS: &str = "guildhall_gateway_sessions";
const SESSIONS_STARTED: &str = "guildhall_gateway_sessions_started_total";
const SESSIONS_ENDED: &str = "guildhall_gateway_sessions_ended_total";
const FRAMES_IN: &str = "guildhall_gateway_frames_received_total";
const DISPATCHES: &str = "guildhall_gateway_dispatches_total";
const BYTES: &str = "guildhall_gateway_sent_bytes_total";
const RESUMES: &str = "guildhall_gateway_resumes_total";
const CLOSES: &str = "guildhall_gateway_closes_total";
const SLOW: &str = "guildhall_gateway_slow_clients_total";
const VOICE_UPDATES: &str = "guildhall_gateway_voice_updates_held_total";
const VOICE_REFUSALS: &str = "guildhall_gateway_voice_updates_refused_total";
const CALLS_FAILED: &str = "guildhall_gateway_calls_failed_total";
const VOICE_WAYS: &str = "guildhall_gateway_voice_websockets";
const REST: &str = "guildhall_rest_requests_total";
const REST_LIMITED: &str = "guildhall_rest_rate_limited_total";

pub fn describe() {
    describe_gauge!(CONNECTIONS, "WebSockets open");
    describe_gauge!(SESSIONS, "Gateway sessions by state (live, detached)");
    describe_counter!(SESSIONS_STARTED, "Sessions that began with READY");
    describe_counter!(SESSIONS_ENDED, "Sessions that ended, by cause");
    describe_counter!(FRAMES_IN, "Frames received from clients");
    describe_counter!(DISPATCHES, "Dispatches written to clients");
    describe_counter!(BYTES, "Bytes of gateway messages written, after compression");
    describe_counter!(RESUMES, "RESUMEs by outcome");
    describe_counter!(CLOSES, "Connections closed by the server, by close code");
    describe_counter!(SLOW, "Clients disconnected because they did not read fast enough");
    describe_counter!(VOICE_UPDATES, "Voice state updates delayed or dropped for coming too fast");
    describe_counter!(VOICE_REFUSALS, "Voice state updates that guilds did not act upon, by cause");
    describe_counter!(CALLS_FAILED, "Calls that guilds could not answer");
    describe_gauge!(VOICE_WAYS, "Voice WebSockets that are carried for pages");
    describe_counter!(REST, "REST requests by method, route and status");
    describe_counter!(REST_LIMITED, "REST requests answered 429, by scope");
}

pub fn population(connections: usize, live: usize, detached: usize) {
    gauge!(CONNECTIONS).set(connections as f64);
    gauge!(SESSIONS, "state" => "live").set(live as f64);
    gauge!(SESSIONS, "state" => "detached").set(detached as f64);
}

pub fn frame_received() {
    counter!(FRAMES_IN).increment(1);
}

/// Found once for each connection: looking a counter up costs as much as making a frame.
pub struct Counters {
    dispatches: Counter,
    bytes: Counter,
}

impl Counters {
    pub fn new() -> Self {
        Self { dispatches: counter!(DISPATCHES), bytes: counter!(BYTES) }
    }

    pub fn written(&self, dispatches: u64, bytes: u64) {
        self.dispatches.increment(dispatches);
        self.bytes.increment(bytes);
    }
}

pub fn closed(code: CloseCode) {
    counter!(CLOSES, "code" => code.number().to_string()).increment(1);
}

pub fn slow_client() {
    counter!(SLOW).increment(1);
}

pub fn voice_way(change: f64) {
    gauge!(VOICE_WAYS).increment(change);
}

pub fn rest(method: &'static str, route: &'static str, status: u16) {
    counter!(REST, "method" => method, "route" => route, "status" => status.to_string()).increment(1);
}

pub fn rest_limited(scope: &'static str) {
    counter!(REST_LIMITED, "scope" => scope).increment(1);
}

pub fn notice(notice: Notice) {
    match notice {
        Notice::SessionStarted(session) => {
            counter!(SESSIONS_STARTED).increment(1);
            tracing::debug!(?session, "session started");
        }
        Notice::SessionDetached(session) => tracing::debug!(?session, "session waits for its client"),
        Notice::SessionEnded(session, end) => {
            counter!(SESSIONS_ENDED, "cause" => end_name(end)).increment(1);
            tracing::debug!(?session, cause = end_name(end), "session ended");
        }
        Notice::Resumed(session, replayed) => {
            counter!(RESUMES, "outcome" => "resumed").increment(1);
            tracing::debug!(?session, replayed, "session resumed");
        }
        Notice::Adopted(session) => {
            counter!(RESUMES, "outcome" => "adopted").increment(1);
            tracing::debug!(?session, "a session of another gateway's goes on here");
        }
        Notice::ResumeRefused(why) => counter!(RESUMES, "outcome" => why).increment(1),
        Notice::VoiceDelayed(_) => counter!(VOICE_UPDATES, "fate" => "delayed").increment(1),
        Notice::VoiceDropped(_) => counter!(VOICE_UPDATES, "fate" => "dropped").increment(1),
        Notice::VoiceRefused(session, why) => {
            counter!(VOICE_REFUSALS, "cause" => why).increment(1);
            tracing::debug!(?session, why, "voice state update refused");
        }
        Notice::CallFailed(status) => {
            counter!(CALLS_FAILED).increment(1);
            tracing::warn!(status, "guilds could not answer");
        }
    }
}

fn end_name(end: SessionEnd) -> &'static str {
    match end {
        SessionEnd::Goodbye => "goodbye",
        SessionEnd::Expired => "expired",
        SessionEnd::Forgotten => "forgotten",
        SessionEnd::TokensRevoked => "tokens_revoked",
        SessionEnd::Crowded => "crowded",
        SessionEnd::CutOff => "cut_off",
        SessionEnd::Shutdown => "shutdown",
    }
}
