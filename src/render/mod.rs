//! Words and pictures: from a notification's numbers to sentences a tired human gets at once.
//!
//! Pure. What is said is decided here once, in [`story`]; how it looks on a service is its channel's business (`notifier`).
//! Text from outside passes [`foreign`] before it goes into a sentence; escaping belongs to the channel.

pub mod chart;
mod configuration;
pub mod foreign;
pub mod numbers;
pub mod phrase;
mod release;
pub mod sample;
pub mod story;
pub mod template;
pub mod words;

pub use phrase::{Phrase, Span};
pub use story::{Row, Story, tell};
pub use template::{check_annotations, check_template};
pub use words::Audience;
