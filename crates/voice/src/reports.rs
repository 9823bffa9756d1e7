//! What guilds has yet to be told: the newest report of each session, in the order in which they changed.

use std::collections::{HashMap, VecDeque};

use cluster_wire::voice::Report;
use model::{GuildId, SessionId};

/// A report says how things are, so a newer one takes an older one's place, and nothing is lost however long guilds takes. There are no
/// more of them than sessions for which guilds has given tokens, and it gives none while it takes no reports.
#[derive(Debug, Default)]
pub struct Reports {
    newest: HashMap<(GuildId, SessionId), Report>,
    /// Whose turn it is; each session once.
    turns: VecDeque<(GuildId, SessionId)>,
}

impl Reports {
    pub fn put(&mut self, report: Report) {
        let (Report::Live { guild, session, .. } | Report::Gone { guild, session, .. }) = &report;
        let key = (*guild, *session);
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
    }
}
