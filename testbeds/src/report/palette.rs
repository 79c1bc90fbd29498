//! What all pictures share: their colours, and how ticks are written. What is drawn is the business of
//! `plot`, `stairs` and `levels`.

use plotters::prelude::*;

use super::numbers::three_digits;

/// The colours of a picture.
#[derive(Clone, Copy)]
pub(super) struct Palette {
    /// Behind everything; a page has its own.
    pub(super) paper: Option<RGBColor>,
    pub(super) text: RGBColor,
    pub(super) grid: RGBColor,
    /// What the picture is about.
    pub(super) curve: RGBColor,
    /// What is beside it: the other side, the time before measuring began.
    pub(super) beside: RGBColor,
}

impl Palette {
    /// Markers, which the style sheet of the page replaces by the colours of its light or dark theme.
    /// Whoever changes one changes the other.
    pub(super) const PAGE: Self = Self {
        paper: None,
        text: RGBColor(1, 1, 1),
        grid: RGBColor(2, 2, 2),
        curve: RGBColor(3, 3, 3),
        beside: RGBColor(4, 4, 4),
    };

    /// What can be seen on white, and printed.
    pub(super) const PAPER: Self = Self {
        paper: Some(WHITE),
        text: RGBColor(0x1c, 0x1f, 0x23),
        grid: RGBColor(0xdf, 0xe2, 0xe6),
        curve: RGBColor(0x0b, 0x6b, 0xcb),
        beside: RGBColor(0x9a, 0xa2, 0xab),
    };
}

/// The number at a tick, without zeros that say nothing.
pub(super) fn tick(value: f64) -> String {
    let digits = three_digits(value);
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        digits
    }
}

/// A picture of this size for a page: it scales with the page, and says what it shows.
pub(super) fn inline(svg: &str, (width, height): (u32, u32), label: &str) -> String {
    let fixed = format!(r#"width="{width}" height="{height}" "#);
    svg.replacen(&fixed, &format!(r#"role="img" aria-label="{label}" "#), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_have_no_zeros_that_say_nothing() {
        assert_eq!([0.0, 0.5, 1.0, 20.0, 150.0].map(tick), ["0", "0.5", "1", "20", "150"]);
    }
}
