//! Sizes and spans of time as people write them: `128K`, `50us`, `1.3ms`. Read here, written here, so that what
//! a run prints can be typed again. Numbers made to be looked at (`41.7 Gbit/s`) are `report`'s business.

/// The four scales of a size, largest first: suffix and bytes.
const SCALES: [(char, u64); 4] = [('T', 1 << 40), ('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];

/// Reads a size or count with an optional suffix K, M, G or T (powers of 1024, as iperf3's `-n` and `-l`).
///
/// # Errors
/// The reason and the remedy, ready to follow "`--option value: `".
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, scale) = match text.char_indices().next_back() {
        Some((at, last)) if last.is_ascii_alphabetic() => (&text[..at], scale_of(last)),
        _ => (text, Some(1)),
    };
    let scale = scale.ok_or_else(not_a_size)?;
    if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() {
        let whole = number.parse::<u64>().ok();
        return whole.and_then(|n| n.checked_mul(scale)).ok_or_else(too_large);
    }
    let fraction = parse_decimal(number).ok_or_else(not_a_size)?;
    round_u64(fraction * float(scale)).ok_or_else(too_large)
}

/// Reads a rate in bytes per second with an optional suffix K, M or G. Rates are in powers of 1000, as data sheets
/// have them.
///
/// # Errors
/// The reason and the remedy, ready to follow "`--option value: `".
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let scales = [('K', 1e3), ('M', 1e6), ('G', 1e9)];
    let suffixed = scales.iter().find_map(|(c, scale)| Some((text.strip_suffix(*c)?, *scale)));
    let (number, scale) = suffixed.unwrap_or((text, 1.0));
    let rate = parse_decimal(number).map(|rate| rate * scale).filter(|rate| *rate > 0.0);
    rate.ok_or_else(|| format!("'{text}' is not a rate; use bytes per second, as in 20M"))
}

/// Writes a size so that [`parse_size`] reads the same number: the largest suffix that divides it.
#[must_use]
pub fn format_size(size: u64) -> String {
    for (suffix, scale) in SCALES {
        if size >= scale && size.is_multiple_of(scale) {
            return format!("{}{suffix}", size / scale);
        }
    }
    size.to_string()
}

/// Writes nanoseconds so that [`parse_time`] reads the same number: the largest unit that divides them.
#[must_use]
pub fn format_ns(ns: u64) -> String {
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000)];
    match units.iter().find(|(_, scale)| ns >= *scale && ns.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", ns / scale),
        None => format!("{ns}ns"),
    }
}

fn scale_of(suffix: char) -> Option<u64> {
    let wanted = suffix.to_ascii_uppercase();
    SCALES.iter().find(|(c, _)| *c == wanted).map(|(_, scale)| *scale)
}

fn not_a_size() -> String {
    "not a size; use a whole number, with K, M or G for powers of 1024 (64K)".to_owned()
}

fn too_large() -> String {
    "larger than 64 bits can hold; use a smaller number".to_owned()
}

/// A unit of time that may follow a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// `ns`
    Nanoseconds,
    /// `us`
    Microseconds,
    /// `ms`
    Milliseconds,
    /// `s`
    Seconds,
}

impl TimeUnit {
    /// Every unit with its suffix; `s` last, for it ends the others too.
    const ALL: [(&'static str, Self); 4] = [
        ("ns", Self::Nanoseconds),
        ("us", Self::Microseconds),
        ("ms", Self::Milliseconds),
        ("s", Self::Seconds),
    ];

    /// Nanoseconds in one of this unit: a power of ten that a float holds exactly.
    fn nanoseconds(self) -> f64 {
        match self {
            Self::Nanoseconds => 1.0,
            Self::Microseconds => 1e3,
            Self::Milliseconds => 1e6,
            Self::Seconds => 1e9,
        }
    }
}

/// Reads a time such as `50us`, `1.3ms` or `5s` and gives it in `unit`. A bare number is in `bare`, where that is
/// given; else only a bare `0` is understood.
///
/// The answer is rounded at most once, so a time written in `unit` comes back unchanged.
///
/// # Errors
/// The reason and the remedy, ready to follow "`--option value: `".
pub fn parse_time(text: &str, unit: TimeUnit, bare: Option<TimeUnit>) -> Result<f64, String> {
    let suffixed = TimeUnit::ALL.iter().find_map(|(s, u)| Some((text.strip_suffix(s)?, Some(*u))));
    let (number, found) = suffixed.unwrap_or((text, bare));
    let value = parse_decimal(number).ok_or_else(|| not_a_time(bare))?;
    match found {
        Some(found) => Ok(rescale(value, found.nanoseconds(), unit.nanoseconds())),
        None if value == 0.0 => Ok(0.0),
        None => Err("has no unit; write ns, us, ms or s after the number".to_owned()),
    }
}

/// One multiplication or one division by an exact power of ten.
fn rescale(value: f64, from: f64, to: f64) -> f64 {
    if from >= to { value * (from / to) } else { value / (to / from) }
}

fn not_a_time(bare: Option<TimeUnit>) -> String {
    match bare {
        Some(TimeUnit::Seconds) => "not a time; use seconds (5) or a unit: 500ms, 50us, 10ns",
        _ => "not a time; use a number with ns, us, ms or s (50us)",
    }
    .to_owned()
}

/// Digits with at most one point: no sign, no exponent, no `inf`.
fn parse_decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !plain {
        return None;
    }
    text.parse().ok()
}

/// The nearest whole number, where it fits.
#[must_use]
pub fn round_u64(value: f64) -> Option<u64> {
    let rounded = value.round();
    // 2^64 is the first float that does not fit; everything below it does.
    let fits = (0.0..18_446_744_073_709_551_616.0).contains(&rounded);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "range checked above"
    )]
    fits.then_some(rounded as u64)
}

/// A count as a float; past 2^53 the nearest one.
#[must_use]
pub fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("1500"), Ok(1500));
        assert_eq!(parse_size("64K"), Ok(65_536));
        assert_eq!(parse_size("128m"), Ok(128 << 20));
        assert_eq!(parse_size("1.5k"), Ok(1536));
        assert_eq!(parse_size("0"), Ok(0));
    }

    #[test]
    fn what_is_no_size_says_why() {
        for bad in ["", "K", "-1", "64Q", "1e3", "inf", "NaN", "6 4", "0x40", "é", "64KB"] {
            let said = parse_size(bad).expect_err(bad);
            assert!(said.contains("not a size"), "{bad}: {said}");
        }
        for bad in ["99999999999999999999", "99999999999999G", "99999999999999.5T"] {
            assert!(parse_size(bad).expect_err(bad).contains("64 bits"), "{bad}");
        }
    }

    #[test]
    fn times_keep_their_unit() {
        let us = |text| parse_time(text, TimeUnit::Microseconds, None);
        assert_eq!(us("50us"), Ok(50.0));
        assert_eq!(us("1.3ms"), Ok(1300.0));
        assert_eq!(us("10ns"), Ok(0.01));
        assert_eq!(us("0"), Ok(0.0));
        assert!(us("50").expect_err("no unit").contains("unit"));
        let s = |text| parse_time(text, TimeUnit::Seconds, Some(TimeUnit::Seconds));
        assert_eq!(s("5"), Ok(5.0));
        assert_eq!(s("500ms"), Ok(0.5));
        assert!(s("-5").is_err() && s("5 s").is_err() && s("s").is_err() && s("1e9").is_err());
    }

    proptest! {
        #[test]
        fn a_size_comes_back(size: u64) {
            prop_assert_eq!(parse_size(&format_size(size)), Ok(size));
        }

        #[test]
        fn a_time_comes_back(us in 0.0..1e9f64) {
            let text = format!("{us}us");
            prop_assert_eq!(parse_time(&text, TimeUnit::Microseconds, None), Ok(us));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = parse_size(&text);
            let _ = parse_time(&text, TimeUnit::Seconds, None);
        }
    }
}
