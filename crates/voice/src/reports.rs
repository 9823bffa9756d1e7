//! What guilds has yet to be told: the newest report of each session, in the order in which they changed.

use std::collections::{HashMap, VecDeque};

use cluster_wire::voice::Report;
use model::{GuildId, SessionId};

/// A report says how things are, so a newer one takes an older one's place, and nothing is lost however long guilds takes. There are no
/// more of them than sessions for which guilds has given tokens, and guilds that were claimed; neither grows while guilds takes no reports.
#[derive(Debug, Default)]
pub struct Reports {
    newest: HashMap<Key, Report>,
    /// Whose turn it is; each once.
    turns: VecDeque<Key>,
}

/// A session, or the guild as a whole.
type Key = (GuildId, Option<SessionId>);

impl Reports {
    pub fn put(&mut self, report: Report) {
        let guild = report.guild();
        let of = match &report {
            Report::Live { session, .. } | Report::Gone { session, .. } => Some(*session),
            Report::Held(_) => None,
        };
        // What waits to be told of the whole guild may be read after this.
        if let (Some(session), Some(Report::Held(held))) = (of, self.newest.get_mut(&(guild, None))) {
            match matches!(report, Report::Live { .. }) {
                true => held.live.insert(session),
                false => held.live.remove(&session),
            };
        }
        let key = (guild, of);
        if self.newest.insert(key, report).is_none() {
            self.turns.push_back(key);
        }
    }

    pub fn next(&mut self) -> Option<Report> {
        let key = self.turns.pop_front()?;
        self.newest.remove(&key)
    }

    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use cluster_wire::voice::Held;
    use model::{ServerId, UserId};

    use super::*;

    #[test]
    fn the_newest_report_of_each_session_is_kept_and_none_is_lost() {
        let report = |n: u64, live: bool| {
            let (server, guild, user, session) =
                (ServerId("a".to_owned()), GuildId(1), UserId(n), SessionId(u128::from(n)));
            match live {
                true => Report::Live { server, guild, user, session },
                false => Report::Gone { server, guild, user, session },
            }
        };
        let mut reports = Reports::default();
        for n in 0..1_000 {
            reports.put(report(n, true));
        }
        for n in (0..1_000).step_by(2) {
            reports.put(report(n, false));
            reports.put(report(n, true));
            reports.put(report(n, false));
        }
        for n in 0..1_000 {
            assert_eq!(reports.next(), Some(report(n, n % 2 == 1)));
        }
        assert_eq!(reports.next(), None);
        assert!(reports.is_empty());
        reports.put(report(1, true));
        assert_eq!(reports.next(), Some(report(1, true)), "told before, and changed again");

        // Its turn was before that of the whole, and what it says is newer.
        let live = [1, 2].map(SessionId).into();
        let (server, guild) = (ServerId("a".to_owned()), GuildId(1));
        let (participants, channels) = (Vec::new(), Vec::new());
        let held = Held { server, guild, claim: 1, fencing: 0, participants, live, channels };
        reports.put(report(1, true));
        reports.put(Report::Held(Box::new(held)));
        reports.put(report(1, false));
        reports.put(report(3, true));
        assert_eq!(reports.next(), Some(report(1, false)));
        let Some(Report::Held(held)) = reports.next() else { panic!("the whole") };
        assert_eq!(held.live, [2, 3].map(SessionId).into());
    }
}
