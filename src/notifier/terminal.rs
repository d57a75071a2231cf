//! A few lines for the terminal that spiked runs in; colour only where one looks.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::model::{AttemptResult, Notification, Severity};
use crate::render::Story;
use crate::render::foreign::cut;

const WIDTH: usize = 200;

/// The lines, with a line break at the end.
pub fn payload(notification: &Notification, story: &Story, colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() };
    let (word, tone) = match (story.over, notification.severity) {
        (true, _) => ("OVER", "1;32"),
        (false, Severity::P0 | Severity::P1) => ("FIRING", "1;31"),
        (false, Severity::P2 | Severity::P3) => ("FIRING", "1;33"),
    };
    let word = if story.title.starts_with("Over: ") { String::new() } else { format!("{word}  ") };
    let mut out = format!("{} {}{}\n", story.symbol, paint(tone, &word), paint("1", &story.title));
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "   {} {}", paint("2", &format!("{name:<10}")), cut(text, WIDTH));
    };
    line("what", &story.fact.text());
    if let Some(who) = &story.who {
        line("who", &who.text());
    }
    for row in &story.rows {
        let name = match row.name.as_str() {
            name if name.starts_with("Affected") => "affected",
            name if name.starts_with("Changed") => "changed",
            name if name.starts_with("Top error") => "error",
            "Next news" => continue,
            "Where" => "where",
            _ => "owner",
        };
        line(name, &row.value.text());
    }
    for other in &story.others {
        line("also", &other.text());
    }
    if let Some(late) = &story.late {
        line("late", late);
    }
    let _ = writeln!(out, "   {}", paint("2", &story.context));
    out
}

/// Writes the lines. A terminal that is gone is tried again later, like any other receiver.
pub fn send(out: &mut impl Write, colour: bool, notification: &Notification, story: &Story) -> AttemptResult {
    match out.write_all(payload(notification, story, colour).as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => AttemptResult::Delivered { reference: None },
        Err(error) => AttemptResult::Transient { reason: reason(&error), retry_after: None },
    }
}

fn reason(error: &io::Error) -> String {
    format!("cannot write to the terminal: {}", error.kind())
}
