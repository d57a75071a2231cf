//! The configuration's own alert: a file that was not taken as it is written fires like any page does, and is resolved when it
//! is mended. Nobody reads a log before something is wrong.
//!
//! It goes through the desk alone: the watch knows series, not files. What is broken is said as a whole each time, and compared
//! with what fires, so that a restart neither repeats nor loses anything.

use std::collections::BTreeMap;

use crate::config::Diagnostic;
use crate::desk::Desk;
use crate::model::transition::CONFIGURATION;
use crate::model::{Finding, Labels, Severity, State, Timestamp, Transition, TransitionId};

/// The alert's name, for routes and silences.
pub const ALERT: &str = "SpikedConfigBroken";

/// Not a shard of the watch: the desk takes each number of each shard once.
pub const SHARD: u32 = u32::MAX;

/// Mistakes that one message names; `spiked check` shows the rest.
const NAMED: usize = 3;

/// A file that is not in force as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The file.
    pub file: String,
    /// How many mistakes it has.
    pub mistakes: usize,
    /// The first of them with their places, and what holds instead.
    pub text: String,
}

/// One trouble for each file with an error. `instead` is what holds while it is broken.
pub fn troubles(found: &[Diagnostic], instead: impl Fn(&str) -> String) -> Vec<Trouble> {
    let mut files: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
    for error in found.iter().filter(|found| found.is_error()) {
        files.entry(&error.file).or_default().push(error);
    }
    let trouble = |(file, errors): (&str, Vec<&Diagnostic>)| {
        let mut said: Vec<String> = errors.iter().take(NAMED).map(|error| error.said()).collect();
        if errors.len() > NAMED {
            said.push(format!("and {} more", errors.len() - NAMED));
        }
        Trouble { file: file.to_owned(), mistakes: errors.len(), text: format!("{}. {}", said.join("; "), instead(file)) }
    };
    files.into_iter().map(trouble).collect()
}

/// What the desk is to hear so that it agrees with `troubles`.
pub fn transitions(desk: &Desk, now: Timestamp, troubles: &[Trouble]) -> Vec<Transition> {
    let open = |incident: &&crate::alert::Incident| incident.is_firing() && incident.firing.condition == CONFIGURATION;
    let open: Vec<&Transition> = desk.incidents().filter(open).map(|incident| &incident.firing).collect();
    let is_told =
        |trouble: &Trouble| open.iter().any(|firing| firing.group.get("file") == trouble.file && firing.reason == trouble.text);
    let is_mended = |firing: &&Transition| !troubles.iter().any(|trouble| trouble.file == firing.group.get("file"));
    let began = |file: &str| open.iter().find(|firing| firing.group.get("file") == file).map_or(now, |firing| firing.began);
    let fired = troubles.iter().filter(|trouble| !is_told(trouble)).map(|trouble| fire(trouble, now, began(&trouble.file)));
    let mended = open.iter().copied().filter(is_mended).map(|firing| Transition {
        at: now,
        state: State::Resolved,
        reason: format!("{} is in force as it is written", firing.group.get("file")),
        ..firing.clone()
    });
    let first = desk.taken().get(&SHARD).map_or(0, |id| id.offset) + 1;
    let mut all: Vec<Transition> = fired.chain(mended).collect();
    for (transition, offset) in all.iter_mut().zip(first..) {
        transition.id = TransitionId { shard: SHARD, offset, number: 0 };
    }
    all
}

fn fire(trouble: &Trouble, now: Timestamp, began: Timestamp) -> Transition {
    let group = Labels::new().with("file", trouble.file.clone());
    let severity = Severity::P2;
    let labels = group.clone().with("alertname", ALERT).with("severity", severity.as_str());
    Transition {
        id: TransitionId::default(),
        at: now,
        alert: ALERT.to_owned(),
        state: State::Firing,
        group,
        slice: Labels::new(),
        labels,
        annotations: Labels::new().with("description", untemplated(&trouble.text)),
        severity,
        owner: String::new(),
        began,
        finding: Finding { errors: trouble.mistakes as u64, ..Finding::default() },
        reason: trouble.text.clone(),
        condition: CONFIGURATION.to_owned(),
    }
}

/// Annotations are templates, and a mistake may quote one.
fn untemplated(text: &str) -> String {
    text.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Level;

    fn mistake(file: &str, line: usize, message: &str) -> Diagnostic {
        Diagnostic {
            file: file.into(),
            line,
            column: 7,
            level: Level::Error,
            message: message.into(),
            hint: Some("mend it".into()),
            span_len: 1,
            excerpt: String::new(),
        }
    }

    #[test]
    fn each_file_is_one_trouble_with_its_first_mistakes() {
        let found: Vec<_> = (1..=5).map(|line| mistake("b.yaml", line, "bad")).chain([mistake("a.yaml", 0, "gone")]).collect();
        let said = troubles(&found, |file| format!("{file} stays."));
        assert_eq!(said.len(), 2);
        assert_eq!(said[0].text, "a.yaml: gone (mend it). a.yaml stays.");
        let first = "b.yaml:1:7: bad (mend it); b.yaml:2:7: bad (mend it); b.yaml:3:7: bad (mend it)";
        assert_eq!((said[1].mistakes, said[1].text.as_str()), (5, format!("{first}; and 2 more. b.yaml stays.").as_str()));
    }

    #[test]
    fn a_template_in_a_mistake_is_not_one_in_the_message() {
        let fired =
            fire(&troubles(&[mistake("a.yaml", 1, "`{{ x }}` {% y %}")], |_| String::new())[0], Timestamp(0), Timestamp(0));
        assert_eq!(crate::render::check_template(fired.annotations.get("description")), Ok(()));
    }
}
