//! Colour on a terminal, or none.

/// Whether text is coloured, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paint {
    on: bool,
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// A frontend.
    Front,
    /// A backend.
    Back,
    /// The host, and what is beside the point.
    Dim,
    /// What crosses a ring.
    Ring,
    /// Waiting.
    Wait,
    /// What takes long.
    Hot,
    /// A headline.
    Bold,
}

impl Paint {
    /// Colours, or not.
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    pub(crate) fn paint(self, ink: Ink, text: &str) -> String {
        if !self.on || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Front => "36",
            Ink::Back => "35",
            Ink::Dim => "2",
            Ink::Ring => "32",
            Ink::Wait => "33",
            Ink::Hot => "31",
            Ink::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
