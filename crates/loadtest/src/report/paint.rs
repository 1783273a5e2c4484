//! Colour for a terminal, or none.

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub struct Paint(pub bool);

impl Paint {
    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// For what is read last.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// For what is as it should be.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// For what is not.
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// For what to keep an eye on.
    pub fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.into()
        }
    }
}
