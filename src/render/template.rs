//! Annotations are templates: `{{ labels.page }} fails for {{ value | percent }}`. Strict: an unknown name is an error, not a blank.
//!
//! The names a template may use are the fields of [`Data`]. Filters of ours: `percent` (`0.061` → `6.1 %`), `number` (`1031` →
//! `1,031`). A template can neither read files nor run long: there is no loader, and its steps are counted.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use super::numbers;
use crate::config::{Broken, Diagnostic, RuleSet};
use crate::model::{AlertView, Notification};

/// Steps a template may take.
const FUEL: u64 = 20_000;
/// Bytes of a template and of what comes out of it; the rest is cut.
const BYTES_MAX: usize = 8_000;

/// What an annotation may speak of.
#[derive(Debug, Serialize)]
pub struct Data<'a> {
    /// All labels of the alert: `labels.page`, `labels.site`, `labels.severity`, …
    pub labels: BTreeMap<&'a str, &'a str>,
    /// `{browser: Mobile Safari}`: what tells more than the page does.
    pub slice: BTreeMap<&'a str, &'a str>,
    /// The measured value since the trouble began; shares from 0 to 1.
    pub value: Option<f64>,
    /// The usual value.
    pub baseline: Option<f64>,
    /// `value / baseline`.
    pub ratio: Option<f64>,
    /// Errors since it began.
    pub errors: u64,
    /// Views since it began.
    pub views: u64,
    /// Distinct sessions with an error, where known.
    pub sessions: Option<u64>,
    /// `SPK-12`
    pub incident: &'a str,
    /// `firing` or `resolved`
    pub state: &'static str,
    /// `P0` to `P3`
    pub severity: &'static str,
    /// Who owns it; may be empty.
    pub owner: &'a str,
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// The release that came just before; may be empty.
    pub release: &'a str,
    /// One sentence for an engineer: why it fired.
    pub reason: &'a str,
}

/// The names in [`Data`], for the check before anything runs.
const NAMES: [&str; 15] = [
    "labels", "slice", "value", "baseline", "ratio", "errors", "views", "sessions", "incident", "state", "severity", "owner",
    "began", "release", "reason",
];

impl<'a> Data<'a> {
    /// What there is to say about one alert.
    pub fn new(notification: &'a Notification, alert: &'a AlertView) -> Self {
        let transition = &alert.firing;
        let finding = &transition.finding;
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        Self {
            labels: transition.labels.iter().chain(transition.group.iter()).collect(),
            slice: transition.slice.iter().collect(),
            value: finite(finding.value),
            baseline: finite(finding.baseline),
            ratio: finite(finding.ratio),
            errors: finding.errors,
            views: finding.views,
            sessions: finding.sessions,
            incident: &notification.incident,
            state: alert.state().as_str(),
            severity: transition.severity.as_str(),
            owner: &transition.owner,
            began: transition.began.to_string(),
            release: finding.deploy.as_ref().map_or("", |deploy| &deploy.release),
            reason: &transition.reason,
        }
    }
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("percent", |value: Option<f64>| value.map_or("unknown".to_string(), numbers::percent));
        environment.add_filter("number", |value: Option<f64>| value.map_or("unknown".to_string(), numbers::amount));
        environment
    })
}

/// Checks the annotations of all rules, those with other mistakes too. A rule with a bad template is a broken rule.
pub fn check_annotations(set: &mut RuleSet) {
    for template in std::mem::take(&mut set.templates) {
        let Err((_, message)) = check_template(&template.text) else { continue };
        let of = template.alert.as_ref().map(|alert| format!(" of `{alert}`")).unwrap_or_default();
        let file = template.at.file.clone();
        set.found.push(Diagnostic {
            message: format!("annotation `{}`{of}: {message}", template.name),
            hint: Some("docs/rules.md lists the names that annotations may use".to_owned()),
            ..template.at
        });
        // One in `defaults:` is in every rule of its file.
        set.rules.retain(|rule| rule.place.file != file || template.alert.as_ref().is_some_and(|alert| *alert != rule.alert));
        set.broken.push(Broken { file, alert: template.alert });
    }
    set.found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
}

/// Compiles a template and looks up the names it uses. The error is the line in the template and what to do.
pub fn check_template(text: &str) -> Result<(), (usize, String)> {
    if text.len() > BYTES_MAX {
        return Err((1, format!("the text has {} bytes; at most {BYTES_MAX} are allowed", text.len())));
    }
    let template = environment().template_from_str(text).map_err(|error| {
        let hint =
            if text.contains("{{ $") || text.contains("{{$") { "; write {{ labels.page }} without a dollar sign" } else { "" };
        (error.line().unwrap_or(1), format!("{}{hint}", describe(&error)))
    })?;
    let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    unknown.sort();
    let globals: Vec<String> = environment().globals().map(|(name, _)| name.to_string()).collect();
    match unknown.iter().find(|name| !NAMES.contains(&name.as_str()) && !globals.contains(name)) {
        Some(name) => {
            let line = text.lines().position(|line| line.contains(name.as_str())).map_or(1, |line| line + 1);
            Err((line, format!("`{name}` is unknown; use one of {}", NAMES.join(", "))))
        }
        None => Ok(()),
    }
}

/// Fills a template in.
pub fn render(text: &str, data: &Data) -> Result<String, String> {
    if !text.contains('{') {
        return Ok(text.to_string());
    }
    let mut out = environment()
        .template_from_str(text)
        .and_then(|t| t.render(minijinja::value::Serde(data)))
        .map_err(|error| describe(&error))?;
    if out.len() > BYTES_MAX {
        let end = (0..=BYTES_MAX).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
        out.truncate(end);
    }
    Ok(out)
}

fn describe(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, _) => "it uses a label or name that this alert does not have".into(),
        (ErrorKind::OutOfFuel, _) => "it takes too many steps".into(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let notification = sample::fire();
        let rendered = render(text, &Data::new(&notification, notification.lead()));
        assert_eq!(rendered.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn values_and_labels_are_filled_in() {
        check("{{ labels.page }}: {{ value | percent }}", Ok("/checkout/payment: 12 %"));
        check("plain", Ok("plain"));
        check("{{ labels.nothing }}", Err("it uses a label or name that this alert does not have"));
        check("{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}", Err("it takes too many steps"));
    }

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        assert_eq!(check_template("{{ labels.page }} {{ range(3) }}"), Ok(()));
        assert_eq!(check_template("a\n{{ lables.page }}").unwrap_err().0, 2);
        assert!(check_template("{{ $labels.page }}").unwrap_err().1.contains("without a dollar sign"));
        assert_eq!(check_template("a\n\n{% if %}").unwrap_err().0, 3);
    }
}
