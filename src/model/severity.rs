//! How urgent an alert is: P0 to P3, with PagerDuty's words for the same four.

use std::fmt;

use serde::{Deserialize, Serialize};

/// P0 is the most urgent and the greatest, so that `max` picks the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// PagerDuty's `info`.
    P3,
    /// PagerDuty's `warning`.
    P2,
    /// PagerDuty's `error`.
    P1,
    /// PagerDuty's `critical`.
    P0,
}

impl Severity {
    /// All four, most urgent first.
    pub const ALL: [Self; 4] = [Self::P0, Self::P1, Self::P2, Self::P3];

    /// Reads `P1` or `error`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| text.eq_ignore_ascii_case(s.as_str()) || text.eq_ignore_ascii_case(s.word()))
    }

    /// `P0` to `P3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        }
    }

    /// PagerDuty's word: critical, error, warning, info.
    pub const fn word(self) -> &'static str {
        match self {
            Self::P0 => "critical",
            Self::P1 => "error",
            Self::P2 => "warning",
            Self::P3 => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_the_worst_is_greatest() {
        assert_eq!(Severity::parse("p1"), Some(Severity::P1));
        assert_eq!(Severity::parse("Critical"), Some(Severity::P0));
        assert_eq!(Severity::parse("urgent"), None);
        assert!(Severity::P0 > Severity::P3);
    }
}
