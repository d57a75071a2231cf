//! A sentence with the two emphases every channel can show: strong, and code. Each channel escapes and marks it up itself.

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// As it is.
    Plain(String),
    /// The words that carry the fact.
    Strong(String),
    /// Foreign or technical text, to be quoted.
    Code(String),
}

impl Span {
    /// The bare text.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Strong(text) | Self::Code(text) => text,
        }
    }
}

/// A sentence or two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase(pub Vec<Span>);

impl Phrase {
    /// Nothing said yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds plain words.
    #[must_use]
    pub fn plain(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Plain(text.into()));
        self
    }

    /// Adds strong words.
    #[must_use]
    pub fn strong(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Strong(text.into()));
        self
    }

    /// Adds quoted text.
    #[must_use]
    pub fn code(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Code(text.into()));
        self
    }

    /// Without any emphasis.
    pub fn text(&self) -> String {
        self.0.iter().map(Span::text).collect()
    }

    /// Whether there are no words in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|span| span.text().trim().is_empty())
    }
}

impl From<&str> for Phrase {
    fn from(text: &str) -> Self {
        Self::new().plain(text)
    }
}

impl From<String> for Phrase {
    fn from(text: String) -> Self {
        Self::new().plain(text)
    }
}
