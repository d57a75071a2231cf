//! A whole notification in words, once for all channels: title, notification line, sections, fields, small print.

use super::foreign::{self, cut};
use super::numbers::{self, count};
use super::phrase::Phrase;
use super::template;
use super::words::{Audience, Facts, Kind, capital};
use crate::config::View;
use crate::model::{AlertView, Labels, Notification, Reason, Severity, State};

/// Characters of a title (messages.md section 4).
pub const TITLE_CHARS: usize = 58;
/// Characters of the notification line, without its symbol.
pub const LINE_CHARS: usize = 117;
/// Characters of the rule's description in a message.
const NOTE_CHARS: usize = 600;
/// Alerts beyond the first that are named; the rest are counted.
const OTHERS_NAMED: usize = 3;

/// A named value: `Owner`, `web-payments`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Short, plain.
    pub name: String,
    /// What there is to say.
    pub value: Phrase,
}

/// Everything there is to say, in order of use. Nothing in it is empty; what is unknown is absent.
#[derive(Clone, Debug)]
pub struct Story {
    /// Whether all of it is over.
    pub over: bool,
    /// 🔴 (P0, P1), 🟠 (P2, P3) or 🟢 (over).
    pub symbol: &'static str,
    /// The fact as a title, without symbol.
    pub title: String,
    /// The same words for every message of the incident: the mail subject's stem.
    pub stem: String,
    /// One sentence for the lock screen: what, where, how bad, who, whose. Without symbol.
    pub line: String,
    /// First section: the fact against the usual, or how it ended.
    pub fact: Phrase,
    /// Second section: who is hit.
    pub who: Option<Phrase>,
    /// The rule's `description`, rendered.
    pub note: Option<String>,
    /// The other alerts of the incident, and how many more.
    pub others: Vec<Phrase>,
    /// Where, affected, changed, owner, error, next news.
    pub rows: Vec<Row>,
    /// Said when this comes late.
    pub late: Option<String>,
    /// Small print.
    pub context: String,
    /// The incident's page.
    pub link: String,
    /// The rule's `runbook_url`, rendered.
    pub runbook: Option<String>,
    /// Annotations that could not be rendered (the default words stand in), for the log.
    pub template_errors: Vec<String>,
}

/// Puts a notification into words for an audience.
pub fn tell(notification: &Notification, audience: &Audience) -> Story {
    let facts = Facts { alert: notification.lead(), audience, now: notification.at };
    let over = notification.state() == State::Resolved;
    let ended = if over { 0 } else { ended(notification).count() };
    let (notes, template_errors) = annotations(notification);
    // What is over counts no more while the rest goes on.
    let total = notification.alerts.len() + notification.truncated - ended;
    let own_title = notes.get("summary").to_string();
    let title = if !own_title.is_empty() && !facts.business() {
        if over { format!("Over: {own_title}") } else { own_title }
    } else {
        title(&facts, over, total, &sites(notification))
    };
    let fact = match facts.over() {
        Some(phrase) if over => phrase,
        _ => lead_in(notification, &facts),
    };
    Story {
        over,
        symbol: symbol(over, notification.severity),
        title: cut(&title, TITLE_CHARS),
        stem: cut(&stem(&facts, total + ended), TITLE_CHARS),
        line: cut(&line(&facts, over, total, ended), LINE_CHARS),
        fact,
        who: if over { None } else { facts.who() },
        note: Some(cut(notes.get("description"), NOTE_CHARS))
            .filter(|note| !note.is_empty() && !facts.business() && facts.kind() != Kind::Configuration),
        others: others(notification, audience),
        rows: rows(notification, &facts, over),
        late: notification.late_since.map(|since| format!("Told late: this should have come at {}.", facts.time(since))),
        context: context(notification, &facts),
        link: link(notification, audience),
        runbook: Some(notes.get("runbook_url").to_string()).filter(|url| is_web_url(url)),
        template_errors,
    }
}

/// The incident's place on the page that spiked serves.
pub fn link(notification: &Notification, audience: &Audience) -> String {
    format!("{}/#{}", audience.external_url.trim_end_matches('/'), notification.incident)
}

/// The place of one alert's own incident: in a storm each has another.
pub fn alert_link(notification: &Notification, alert: &AlertView, audience: &Audience) -> String {
    let incident = if alert.incident.is_empty() { &notification.incident } else { &alert.incident };
    format!("{}/#{incident}", audience.external_url.trim_end_matches('/'))
}

fn is_web_url(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && !url.contains([' ', '<', '>', '|', '"', '\''])
        && url.len() < 2000
}

const fn symbol(over: bool, severity: Severity) -> &'static str {
    match (over, severity) {
        (true, _) => "🟢",
        (false, Severity::P0 | Severity::P1) => "🔴",
        (false, Severity::P2 | Severity::P3) => "🟠",
    }
}

/// The lead alert's annotations with their templates filled in; what fails is left out and reported.
pub fn annotations(notification: &Notification) -> (Labels, Vec<String>) {
    let alert = notification.lead();
    let mut errors = Vec::new();
    let rendered = alert.firing.annotations.iter().filter_map(|(name, text)| {
        match template::render(text, &template::Data::new(notification, alert)) {
            Ok(text) => Some((name.to_string(), foreign::masked(&foreign::clean(&text)))),
            Err(message) => {
                errors.push(format!("annotation {name} of {}: {message}", alert.firing.alert));
                None
            }
        }
    });
    (rendered.collect(), errors)
}

/// The site that all alerts are on, or how many there are.
fn sites(notification: &Notification) -> String {
    let mut sites: Vec<&str> = notification.alerts.iter().map(|alert| alert.firing.group.get("site")).collect();
    sites.sort_unstable();
    sites.dedup();
    match sites[..] {
        [site] => foreign::name(site),
        _ => format!("{} sites", sites.len()),
    }
}

fn title(facts: &Facts, over: bool, total: usize, site: &str) -> String {
    let place = facts.place();
    if total > 5 {
        let on = if site.is_empty() { String::new() } else { format!(" on {site}") };
        return if over { format!("Over: {total} alerts{on}") } else { format!("{total} alerts at once{on}") };
    }
    let failing = facts.firing().finding.value.is_some_and(|value| value >= 0.05);
    match (facts.kind(), over) {
        (Kind::Rate, false) if failing => format!("{} is failing", capital(&place)),
        (Kind::Rate, true) if failing => format!("Over: {place} was failing"),
        (Kind::Rate, false) => format!("More errors than usual {}", facts.at_place()),
        (Kind::Rate, true) => format!("Over: more errors than usual {}", facts.at_place()),
        (Kind::Configuration, true) => format!("Mended: {}", facts.file_name()),
        (Kind::Absent, true) => format!("Over: {} are back {}", facts.things(), facts.at_place()),
        (Kind::New, false) => new_error(facts),
        (Kind::Release, true) if facts.is_only_unwatched() => {
            format!("No longer compared: {} {}", facts.release(), facts.at_place())
        }
        (_, true) => format!("Over: {}", stem(facts, total)),
        (Kind::Release, false) => release_title(facts),
        (Kind::Absent | Kind::Fewer | Kind::Configuration, false) => stem(facts, total),
        (Kind::Count, false) => format!("{} {}", capital(&facts.measure().0), facts.at_place()),
    }
}

/// A release's name stays as it is written.
fn release_title(facts: &Facts) -> String {
    let release = facts.release();
    let release = if facts.business() { capital(&release) } else { release };
    format!("{release} is worse {}", facts.at_place())
}

fn new_error(facts: &Facts) -> String {
    let at = facts.at_place();
    let class = facts.firing().finding.top_errors.first().map(|top| foreign::name(&top.class)).unwrap_or_default();
    if facts.business() || class.is_empty() { format!("New error {at}") } else { format!("New error {at}: {class}") }
}

fn stem(facts: &Facts, total: usize) -> String {
    let at = facts.at_place();
    match facts.kind() {
        _ if total > 5 => format!("Many alerts on {}", facts.label("site")),
        Kind::Configuration => format!("Configuration has a mistake: {}", facts.file_name()),
        Kind::Rate => format!("Errors {at}"),
        Kind::Release => format!("Errors of {} {at}", facts.release()),
        Kind::New => new_error(facts),
        Kind::Absent => format!("No {} {at}", facts.things()),
        Kind::Fewer => format!("Fewer {} than usual {at}", facts.things()),
        Kind::Count => format!("Many {} {at}", facts.things()),
    }
}

fn line(facts: &Facts, over: bool, total: usize, ended: usize) -> String {
    if facts.kind() == Kind::Configuration && !over {
        return facts.configuration_line();
    }
    let (site, place) = (facts.label("site"), facts.place());
    let on = if site.is_empty() || place == site { String::new() } else { format!(" on {site}") };
    let place = format!("{}{on}", capital(&place));
    if let Some(resolved) = facts.alert.resolved.as_ref().filter(|_| over) {
        let lasted = numbers::duration(resolved.at.since(facts.firing().began));
        let affected = facts.affected().map(|affected| format!(", {affected} affected")).unwrap_or_default();
        let over = if facts.is_only_unwatched() { "No longer compared" } else { "Over" };
        return format!("{over} after {lasted}: {}{on}{affected}.", lower(&stem(facts, total)));
    }
    let (measure, usual) = facts.measure();
    let usual = usual.map(|usual| format!(", usually {usual}")).unwrap_or_default();
    let who = facts.who_short().map(|who| format!(" {}.", capital(&who))).unwrap_or_default();
    let owner = facts.owner().map_or_else(|| " Owner: nobody yet".to_string(), |owner| format!(" Owner: {owner}"));
    let more = match (total - 1, ended) {
        (0, 0) => String::new(),
        (0, ended) => format!(" {}.", are_over(ended)),
        (more, 0) => format!(" And {}.", count(more as u64, "alert more", "alerts more")),
        (more, ended) => format!(" And {}, {ended} over.", count(more as u64, "alert more", "alerts more")),
    };
    match facts.kind() {
        Kind::New => format!("{}{on}, {measure}.{who}{more}{owner}", new_error(facts)),
        Kind::Release => {
            let beside = facts.measure().1.map(|others| format!(", with the others {others}")).unwrap_or_default();
            format!("{place}: {measure}{beside}.{more}{owner}")
        }
        _ => format!("{place}: {measure}{usual}.{who}{more}{owner}"),
    }
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Alerts that are over while others of the notification go on.
fn ended(notification: &Notification) -> impl Iterator<Item = &AlertView> {
    notification.alerts.iter().filter(|alert| alert.resolved.is_some())
}

/// `1 is over`, `3 are over`.
fn are_over(ended: usize) -> String {
    count(ended as u64, "is over", "are over")
}

/// The first section while it goes on, begun by why it is told.
fn lead_in(notification: &Notification, facts: &Facts) -> Phrase {
    let began = facts.firing().began;
    let start = match notification.reason {
        Reason::Update => match ended(notification).count() {
            0 => "News: ".to_string(),
            ended => {
                let all = notification.alerts.len() + notification.truncated;
                format!("News: {} of {all} alerts {} over. ", ended, if ended == 1 { "is" } else { "are" })
            }
        },
        Reason::Repeat => format!("Still going on after {}: ", numbers::duration(notification.at.since(began))),
        Reason::Fire | Reason::Resolve => return facts.fact(),
    };
    let mut phrase = Phrase::new().plain(start);
    phrase.0.extend(facts.fact().0);
    phrase
}

/// The worst of those that go on, then those that are over: an end inside of a storm is news, too.
fn others(notification: &Notification, audience: &Audience) -> Vec<Phrase> {
    let is_over = notification.state() == State::Resolved;
    let rest = || notification.alerts.iter().skip(1).filter(|alert| is_over || alert.resolved.is_none());
    let mut named: Vec<Phrase> = rest().take(OTHERS_NAMED).map(|alert| other(notification, alert, audience)).collect();
    let unnamed = (rest().count() + notification.truncated).saturating_sub(named.len());
    if unnamed > 0 {
        named.push(format!("and {} more", numbers::thousands(unnamed as u64)).into());
    }
    if is_over {
        return named;
    }
    let mut over: Vec<&AlertView> = ended(notification).collect();
    over.sort_by_key(|alert| std::cmp::Reverse(alert.resolved.as_ref().map(|resolved| resolved.at)));
    named.extend(over.iter().take(OTHERS_NAMED).map(|alert| other(notification, alert, audience)));
    if over.len() > OTHERS_NAMED {
        let more = (over.len() - OTHERS_NAMED) as u64;
        named.push(format!("and {}", count(more, "more is over", "more are over")).into());
    }
    named
}

fn other(notification: &Notification, alert: &AlertView, audience: &Audience) -> Phrase {
    let facts = Facts { alert, audience, now: notification.at };
    let (measure, usual) = facts.measure();
    let phrase = Phrase::new().strong(capital(&facts.place()));
    match &alert.resolved {
        Some(resolved) => {
            phrase.plain(format!(": over since {}", numbers::clock(resolved.at, notification.at, audience.time_zone)))
        }
        None => phrase.plain(format!(": {measure}{}", usual.map(|usual| format!(" (usually {usual})")).unwrap_or_default())),
    }
}

fn rows(notification: &Notification, facts: &Facts, over: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: Phrase| rows.push(Row { name: name.into(), value });
    row("Where", facts.path());
    if let Some(affected) = facts.affected() {
        row(if over { "Affected in all" } else { "Affected so far" }, affected.into());
    }
    if let Some(deploy) = facts.deploy() {
        row(if facts.kind() == Kind::Release { "Changed" } else { "Changed just before" }, deploy);
    }
    row("Owner", facts.owner().unwrap_or_else(|| "nobody yet".into()).into());
    if let Some((share, text)) = facts.top_error() {
        let name = if share.is_empty() { "Top error".into() } else { format!("Top error, {share}") };
        row(&name, Phrase::new().code(text));
    }
    if let Some(by) = notification.next_by.filter(|_| !over) {
        row("Next news", format!("when it is over, or by {} at the latest", facts.time(by)).into());
    }
    rows
}

fn context(notification: &Notification, facts: &Facts) -> String {
    let mut parts = vec![notification.incident.clone()];
    if facts.business() {
        parts.push(format!("times in {}", numbers::zone_name(facts.audience.time_zone)));
        return parts.join(" · ");
    }
    let transition = facts.firing();
    parts.push(notification.severity.word().into());
    parts.push(format!("rule {}", foreign::name(&transition.alert)));
    if let Some(counts) = facts.counts() {
        let until = facts.alert.resolved.as_ref().map_or(transition.at, |resolved| resolved.at);
        parts.push(format!("{counts} in {}", numbers::duration(until.since(transition.began))));
    }
    parts.extend(facts.sure().map(str::to_string));
    parts.join(" · ")
}

/// Whether this audience reads plain words only.
pub const fn is_business(audience: &Audience) -> bool {
    matches!(audience.view, View::Business)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn an_end_inside_of_a_storm_is_said() {
        let audience = Audience { view: View::Technical, time_zone: chrono_tz::UTC, external_url: "" };
        let said = |firing, over| {
            let story = tell(&sample::easing(firing, over), &audience);
            (story.title, story.line, story.fact.text(), story.others.iter().map(Phrase::text).collect::<Vec<_>>())
        };
        let (_, line, fact, others) = said(2, 1);
        assert!(line.contains("And 1 alert more, 1 over."), "{line}");
        assert!(fact.starts_with("News: 1 of 3 alerts is over. "), "{fact}");
        assert_eq!(others, ["/page-2: 12 in 100 views have an error (usually about 1 in 100)", "/page-3: over since 07:20"]);
        let (title, _, fact, others) = said(6, 5);
        assert_eq!(title, "6 alerts at once on shop");
        assert!(fact.starts_with("News: 5 of 11 alerts are over. "), "{fact}");
        assert_eq!((others.len(), others[3].as_str(), others[7].as_str()), (8, "and 2 more", "and 2 more are over"));
    }
}
