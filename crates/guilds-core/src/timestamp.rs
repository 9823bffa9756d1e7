//! Reads the ISO 8601 timestamps that clients send.

use model::UnixMs;

/// `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±HH:MM)`; None for anything else and for dates before 1970.
pub fn parse_iso8601(text: &str) -> Option<UnixMs> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, separator)| bytes.get(at) != Some(&separator)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (ms, rest) = fraction(&bytes[19..])?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - zone(rest)?;
    u64::try_from(seconds * 1_000 + ms).ok().map(UnixMs)
}

/// Milliseconds of an optional fraction, and what follows it.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let ms = (0..3).fold(0, |ms, i| ms * 10 + if i < count { i64::from(digits[i] - b'0') } else { 0 });
    Some((ms, &digits[count..]))
}

/// Seconds east of Greenwich.
fn zone(bytes: &[u8]) -> Option<i64> {
    let (sign, rest) = match bytes {
        b"Z" | b"z" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let digit = |b: u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
    match *rest {
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => {
            Some(sign * ((digit(h1)? * 10 + digit(h2)?) * 3_600 + (digit(m1)? * 10 + digit(m2)?) * 60))
        }
        _ => None,
    }
}

/// Days since 1970-01-01 (Howard Hinnant's days-from-civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_in_every_form_clients_send() {
        let check =
            |text: &str, expect: Option<u64>| assert_eq!(parse_iso8601(text).map(|t| t.0), expect, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-11-22T21:06:47.123000+00:00", Some(1_795_381_607_123));
        check("2026-11-22T23:06:47.123+02:00", Some(1_795_381_607_123));
        check("2026-11-22T19:06:47.1-0200", Some(1_795_381_607_100));
        check("2000-02-29T00:00:00Z", Some(951_782_400_000));
        for bad in [
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "1969-12-31T00:00:00Z",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ms in [0, 1, 951_782_399_999, 1_795_381_607_123, 4_102_444_800_000] {
            assert_eq!(parse_iso8601(&UnixMs(ms).iso8601()), Some(UnixMs(ms)));
        }
    }
}
