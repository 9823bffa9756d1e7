//! The nouns everything else is made of: identifiers, permissions, guilds, channels, members, voice states.
//!
//! Owns: the meaning of these values and the rules that follow from them alone (how permissions combine, what a
//! snowflake encodes). Deliberately does not: any wire format, storage, I/O or clock.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod guild;
mod id;
mod permissions;
mod voice;
mod write;

pub use guild::{
    Ban, Channel, ChannelKind, Guild, Invite, Member, Message, Overwrite, OverwriteTarget, Presence,
    PresenceStatus, Role, User, VideoQuality,
};
pub use id::{
    ChannelId, EPOCH_MS, GuildId, MessageId, ParseIdError, RoleId, SnowflakeGenerator, StageInstanceId,
    UserId,
};
pub use permissions::{Permissions, VOICE_PERMISSIONS, channel_permissions, guild_permissions};
pub use voice::{RegionId, ServerId, SessionId, VoiceFlags, VoiceState};
pub use write::Write;

/// Milliseconds since the Unix epoch: the only wall-clock time that enters the system's facts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// ISO 8601 in UTC with milliseconds, the form every timestamp takes in the public protocol.
    pub fn iso8601(self) -> String {
        let (days, ms_of_day) = ((self.0 / 86_400_000) as i64, self.0 % 86_400_000);
        // Howard Hinnant's days-to-civil algorithm, valid for every date this type can hold.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        let (s, ms) = (ms_of_day / 1000, ms_of_day % 1000);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}000+00:00",
            s / 3600,
            s / 60 % 60,
            s % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::UnixMs;

    #[test]
    fn timestamps_are_iso_8601() {
        let check = |ms, expect: &str| assert_eq!(UnixMs(ms).iso8601(), expect);
        check(0, "1970-01-01T00:00:00.000000+00:00");
        check(951_782_399_999, "2000-02-28T23:59:59.999000+00:00");
        check(951_782_400_000, "2000-02-29T00:00:00.000000+00:00");
        check(1_795_381_607_123, "2026-11-22T21:06:47.123000+00:00");
    }
}
