//! Who is told of whom: CLIENTS CONNECT on coming in, SPEAKING on first speaking and on every change.

use client_wire::voice::{ClientsConnect, ServerFrame, ServerSpeaking, speaking};

use crate::SessionKey;
use crate::core::{VoiceCore, payload};
use crate::session::Session;

impl VoiceCore {
    /// A client is identified and placed: it joins those who are told of changes, and is told who is there.
    pub(crate) fn enter_room(&mut self, key: SessionKey) {
        let Some(channel) = self.presence(key).map(|p| p.channel) else { return };
        self.rooms.add_member(channel, key);
        let user_ids: Vec<_> =
            self.visible_others(key).into_iter().map(|(_, session)| session.user).collect();
        if !user_ids.is_empty() {
            self.tell(key, payload(&ServerFrame::ClientsConnect(ClientsConnect { user_ids })));
        }
    }

    /// A client in the room has selected its protocol: it is told everyone's stream, and everyone is told of it.
    pub(crate) fn appear(&mut self, key: SessionKey) {
        if !self.session(key).is_some_and(Session::is_visible) {
            return;
        }
        let streams: Vec<_> =
            self.visible_others(key).into_iter().filter_map(|(_, s)| stream_of(s)).collect();
        for stream in streams {
            self.tell(key, payload(&ServerFrame::Speaking(stream)));
        }
        let Some(user) = self.session(key).map(|s| s.user) else { return };
        self.tell_others(key, &ServerFrame::ClientsConnect(ClientsConnect { user_ids: vec![user] }));
        self.relay_speaking(key);
    }

    fn visible_others(&self, key: SessionKey) -> Vec<(SessionKey, &Session)> {
        let Some(channel) = self.presence(key).map(|p| p.channel) else { return Vec::new() };
        let others = self.rooms.others(channel, key).into_iter();
        others.filter_map(|k| Some((k, self.session(k)?))).filter(|(_, s)| s.is_visible()).collect()
    }

    /// The client's own SPEAKING.
    pub(crate) fn client_speaking(&mut self, key: SessionKey, flags: u8) {
        if let Some(presence) = self.presence_mut(key) {
            presence.speaking.flags = flags & (speaking::VOICE | speaking::SOUNDSHARE | speaking::PRIORITY);
            presence.speaking.heard = true;
        }
        self.relay_speaking(key);
    }

    /// The relay hears audio. One library sends its first packets before it says SPEAKING; whoever has said something is believed.
    pub(crate) fn audio_heard(&mut self, key: SessionKey) {
        if let Some(presence) = self.presence_mut(key)
            && !presence.speaking.heard
        {
            presence.speaking.flags = speaking::VOICE;
            presence.speaking.heard = true;
        }
        self.relay_speaking(key);
    }

    /// Tells the others what is in force of a client's flags, if that is news.
    pub(crate) fn relay_speaking(&mut self, key: SessionKey) {
        let Some(session) = self.session_mut(key).filter(|s| s.is_visible()) else { return };
        let rights = session.rights();
        let Some(presence) = &mut session.presence else { return };
        let allowed = match (rights.speak, rights.priority) {
            (false, _) => 0,
            (true, false) => !speaking::PRIORITY,
            (true, true) => u8::MAX,
        };
        let flags = presence.speaking.flags & allowed;
        if !presence.speaking.heard || presence.speaking.told == Some(flags) {
            return;
        }
        presence.speaking.told = Some(flags);
        if let Some(stream) = stream_of(session) {
            self.tell_others(key, &ServerFrame::Speaking(stream));
        }
    }
}

/// A session's stream as others are told of it, with the flags they were told last.
fn stream_of(session: &Session) -> Option<ServerSpeaking> {
    let speaking = session.presence.as_ref()?.speaking.told.unwrap_or(0);
    Some(ServerSpeaking { speaking, ssrc: session.ssrc?, user_id: session.user })
}
