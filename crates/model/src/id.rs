//! Snowflake identifiers: bits 63-22 milliseconds since 2015-01-01, 21-17 worker, 16-12 process, 11-0 counter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::UnixMs;

/// 2015-01-01T00:00:00Z in Unix milliseconds: the zero of every snowflake.
pub const EPOCH_MS: u64 = 1_420_070_400_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id is a decimal number of at most 64 bits")
    }
}

impl std::error::Error for ParseIdError {}

/// JSON carries ids as decimal strings; some clients (songbird, discord.py) send integers, so both are read.
struct IdVisitor;

impl de::Visitor<'_> for IdVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snowflake as a decimal string or an unsigned integer")
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<u64, E> {
        Ok(v)
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<u64, E> {
        u64::try_from(v).map_err(|_| E::custom(ParseIdError))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<u64, E> {
        v.parse().map_err(|_| E::custom(ParseIdError))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// When this id was made.
            pub fn created_at(self) -> UnixMs {
                UnixMs((self.0 >> 22) + EPOCH_MS)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(s: &str) -> Result<Self, ParseIdError> {
                s.parse().map(Self).map_err(|_| ParseIdError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(IdVisitor).map(Self)
            }
        }
    };
}

id!(
    /// An account, of a person or a bot.
    UserId
);
id!(
    /// A community: the unit of ownership and of placement on a voice server.
    GuildId
);
id!(ChannelId);
id!(
    /// A role; the role of everyone carries its guild's own id.
    RoleId
);
id!(MessageId);
id!(
    /// What is on on a stage, from its beginning to its end.
    StageInstanceId
);

impl GuildId {
    /// The role every member has.
    pub fn everyone(self) -> RoleId {
        RoleId(self.0)
    }
}

/// Makes ids that are unique for one (worker, process) pair and grow with time.
#[derive(Debug, Clone)]
pub struct SnowflakeGenerator {
    node: u64,
    last_ms: u64,
    counter: u64,
}

impl SnowflakeGenerator {
    /// `worker` and `process` have five bits each.
    pub fn new(worker: u8, process: u8) -> Self {
        let node = (u64::from(worker & 31) << 17) | (u64::from(process & 31) << 12);
        Self { node, last_ms: 0, counter: 0 }
    }

    /// The next id. When the clock stands still or goes back the counter carries on, so ids never repeat.
    pub fn next(&mut self, now: UnixMs) -> u64 {
        let ms = now.0.saturating_sub(EPOCH_MS);
        if ms > self.last_ms {
            (self.last_ms, self.counter) = (ms, 0);
        } else {
            self.counter += 1;
            if self.counter > 0xfff {
                (self.last_ms, self.counter) = (self.last_ms + 1, 0);
            }
        }
        (self.last_ms << 22) | self.node | self.counter
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_read_from_strings_and_integers_and_written_as_strings() {
        let check = |json: &str, expect: Option<u64>| {
            assert_eq!(serde_json::from_str::<UserId>(json).ok().map(|id| id.0), expect, "{json}");
        };
        check("\"175928847299117063\"", Some(175_928_847_299_117_063));
        check("18446744073709551615", Some(u64::MAX));
        check("-1", None);
        check("\"-1\"", None);
        check("\"12a\"", None);
        check("1.5", None);
        check("null", None);
        assert_eq!(serde_json::to_string(&UserId(42)).unwrap(), "\"42\"");
    }

    #[test]
    fn ids_are_unique_and_grow_even_when_the_clock_goes_back() {
        let mut ids = SnowflakeGenerator::new(1, 2);
        let mut seen = HashSet::new();
        let mut last = 0;
        for i in 0..20_000_u64 {
            let id = ids.next(UnixMs(EPOCH_MS + 1_000 - i / 4_000));
            assert!(id > last && seen.insert(id));
            last = id;
        }
        assert_eq!((last >> 12) & 0x3ff, (1 << 5) | 2);
    }
}
