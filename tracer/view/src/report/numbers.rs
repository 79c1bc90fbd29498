//! Times and shares made to be looked at.

/// Nanoseconds as three digits and a unit: `840 ns`, `12.3 us`, `1.02 s`.
#[must_use]
pub fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    if ns < 1000 {
        return format!("{sign}{ns} ns");
    }
    let steps = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];
    let value = ns as f64;
    // A hair below the step rounds up to it.
    let step = steps.into_iter().find(|(step, _)| value >= step * 0.9995);
    let (step, unit) = step.unwrap_or((1e3, "us"));
    format!("{sign}{} {unit}", three_digits(value / step))
}

/// As many decimals as make three digits.
#[must_use]
pub fn three_digits(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 => format!("{value:.2}"),
        medium if medium < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A part of a whole, in per cent.
pub(crate) fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// A whole number with commas.
#[must_use]
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1.00 us"),
            (12_345, "12.3 us"),
            (999_700, "1.00 ms"),
            (1_020_000_000, "1.02 s"),
            (-1500, "-1.50 us"),
        ] {
            assert_eq!(duration(ns), text);
        }
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
