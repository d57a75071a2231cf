//! The sentences about one alert: what, where, how bad, who, since when, what changed just before, how sure.
//!
//! Only what the data says: a rate is told with its usual value, a release as a coincidence, people only where sessions are
//! known. What is unknown is left out, or said plainly; it is never shown as zero.

use chrono_tz::Tz;

use super::foreign;
use super::numbers::{self, count, people, percent, rate, thousands};
use super::phrase::Phrase;
use crate::config::View;
use crate::model::limits::SLICE_NAMED_SESSIONS_MIN;
use crate::model::transition::CONFIGURATION;
use crate::model::{AlertView, Finding, Metric, Timestamp, Transition};

/// Who reads, by which clock, and where links lead.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// Engineers or marketers.
    pub view: View,
    /// The readers' clock, named wherever a time stands.
    pub time_zone: Tz,
    /// Base of links, for example `https://spiked.shop.example`.
    pub external_url: &'a str,
}

/// What kind of thing is told; each has words of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A share of tries that fail.
    Rate,
    /// So many of something.
    Count,
    /// Less of something good.
    Fewer,
    /// An error never seen before.
    New,
    /// Nothing came.
    Absent,
    /// A release fails more often than those beside it.
    Release,
    /// A file of spiked's own configuration has a mistake.
    Configuration,
}

/// One alert, ready to be spoken of.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) alert: &'a AlertView,
    pub(super) audience: &'a Audience<'a>,
    pub(super) now: Timestamp,
}

impl<'a> Facts<'a> {
    pub(super) const fn firing(&self) -> &'a Transition {
        &self.alert.firing
    }

    pub(super) const fn finding(&self) -> &'a Finding {
        &self.alert.firing.finding
    }

    pub(super) const fn business(&self) -> bool {
        matches!(self.audience.view, View::Business)
    }

    pub(super) fn label(&self, name: &str) -> String {
        let transition = self.firing();
        let value = transition.group.get(name);
        let value = if value.is_empty() { transition.labels.get(name) } else { value };
        if name == "page" { foreign::page(value) } else { foreign::name(value) }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.firing().condition.as_str() {
            "first_seen" | "regression" => Kind::New,
            "absent" | "heartbeat" => Kind::Absent,
            "drop" => Kind::Fewer,
            "release" => Kind::Release,
            CONFIGURATION => Kind::Configuration,
            _ => match self.finding().metric {
                Metric::ErrorRate | Metric::SessionErrorRate => Kind::Rate,
                Metric::Conversion => Kind::Fewer,
                _ => Kind::Count,
            },
        }
    }

    /// `payment step of checkout`, `/cart`, `shop`.
    pub(super) fn place(&self) -> String {
        if self.kind() == Kind::Configuration {
            return self.file_name();
        }
        let (step, page, site) = (self.label("step"), self.label("page"), self.label("site"));
        match (&self.finding().funnel, step.is_empty(), page.is_empty()) {
            (Some(place), false, _) => format!("{step} step of {}", foreign::name(&place.funnel)),
            (None, false, _) => format!("{step} step"),
            (_, true, false) => page,
            (_, true, true) if site.is_empty() => "this site".into(),
            (_, true, true) => site,
        }
    }

    /// With `at the` or `on` before it.
    pub(super) fn at_place(&self) -> String {
        if self.label("step").is_empty() { format!("on {}", self.place()) } else { format!("at the {}", self.place()) }
    }

    /// `shop › checkout › payment`, the environment where it is not production, and the place in the funnel.
    pub(super) fn path(&self) -> Phrase {
        if self.kind() == Kind::Configuration {
            return Phrase::new().code(self.file());
        }
        let funnel = self.finding().funnel.as_ref();
        let names = [self.label("site"), funnel.map(|f| foreign::name(&f.funnel)).unwrap_or_default(), self.label("step")];
        let mut path: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        let env = self.label("env");
        if let Some(site) = path.first_mut().filter(|_| !env.is_empty() && env != "production") {
            *site = format!("{site} ({env})");
        }
        let mut phrase = Phrase::new().plain(path.join(" › "));
        if let Some(place) = funnel.filter(|place| place.of > 0 && !self.label("step").is_empty()) {
            phrase = phrase.plain(format!(", step {} of {}", place.step, place.of));
        }
        let page = self.label("page");
        if page.is_empty() || (self.business() && !self.label("step").is_empty()) {
            return phrase;
        }
        phrase.plain(if path.is_empty() { "" } else { " · " }).code(page)
    }

    /// What a view is called here: a try at a step, a view of a page.
    pub(super) fn unit(&self) -> (&'static str, &'static str) {
        if self.label("step").is_empty() { ("view", "views") } else { ("try", "tries") }
    }

    /// What people are called here: shoppers where something is bought, visitors elsewhere.
    pub(super) fn folk(&self) -> (&'static str, &'static str) {
        let funnel = self.finding().funnel.as_ref().map(|f| f.funnel.to_lowercase()).unwrap_or_default();
        let buys = ["checkout", "cart", "basket", "order", "buy", "purchase", "shop"].iter().any(|word| funnel.contains(word));
        if buys { ("shopper", "shoppers") } else { ("visitor", "visitors") }
    }

    /// `07:05 UTC`, `08:05 (Berlin time)`.
    pub(super) fn time(&self, at: Timestamp) -> String {
        let (clock, zone) = (numbers::clock(at, self.now, self.audience.time_zone), numbers::zone_name(self.audience.time_zone));
        if zone.contains(' ') { format!("{clock} ({zone})") } else { format!("{clock} {zone}") }
    }

    /// What is counted, in words: `errors`, `views`, `“purchase” events`.
    pub(super) fn things(&self) -> String {
        match &self.finding().metric {
            Metric::ErrorRate | Metric::SessionErrorRate | Metric::Errors => "errors".into(),
            Metric::Views | Metric::Conversion => self.unit().1.into(),
            Metric::AffectedSessions => format!("{} with an error", self.folk().1),
            Metric::Track(name) => format!("“{}” events", foreign::name(name)),
        }
    }

    /// The measured share, or the one the counts give.
    fn share(&self) -> Option<f64> {
        let f = self.finding();
        let counted = (f.views > 0).then(|| f.errors as f64 / f.views as f64);
        f.value.filter(|value| value.is_finite() && f.metric.is_rate()).or(counted)
    }

    /// How many times the usual, where both are known.
    fn ratio(&self) -> Option<f64> {
        let f = self.finding();
        let computed = || f.value.zip(f.baseline).filter(|(_, usual)| *usual > 0.0).map(|(value, usual)| value / usual);
        f.ratio.or_else(computed).filter(|ratio| ratio.is_finite() && *ratio > 0.0)
    }

    /// The fact without its place: (`12 in 100 tries fail`, `about 1 in 100`).
    pub(super) fn measure(&self) -> (String, Option<String>) {
        let f = self.finding();
        let (_, units) = self.unit();
        match self.kind() {
            Kind::Rate => self.failing_share(),
            Kind::Release => self.release_measure(),
            Kind::Configuration => (count(f.errors, "mistake", "mistakes"), None),
            Kind::New => {
                let times = if f.errors > 0 { count(f.errors, "time", "times") } else { "for the first time".into() };
                (format!("seen {times}"), None)
            }
            Kind::Absent => {
                let silent = numbers::duration(self.firing().at.since(self.firing().began));
                (format!("no {} for {silent}", self.things()), None)
            }
            Kind::Fewer if f.metric == Metric::Conversion => match self.share() {
                Some(share) => {
                    let rate = rate(share, f.baseline);
                    (format!("only {} go on to the next step", rate.now), rate.usual)
                }
                None => ("fewer go on to the next step".into(), None),
            },
            Kind::Fewer => match self.ratio().filter(|ratio| *ratio < 1.0) {
                Some(ratio) => (format!("only {} of the usual {} come in", percent(ratio), self.things()), None),
                None => (format!("far fewer {} than usual", self.things()), None),
            },
            Kind::Count => {
                let number = match &f.metric {
                    Metric::Errors => f.errors,
                    Metric::Views => f.views,
                    Metric::AffectedSessions => f.sessions.unwrap_or(f.errors),
                    _ => f.value.filter(|v| v.is_finite() && *v >= 0.0).map_or(f.errors, |v| v.round() as u64),
                };
                let things = self.things();
                let text = match number {
                    0 => format!("too many {things}"),
                    1 if things == "errors" => "1 error".into(),
                    1 if things == units => format!("1 {}", self.unit().0),
                    _ => format!("{} {things}", thousands(number)),
                };
                (text, None)
            }
        }
    }

    pub(super) fn failing_share(&self) -> (String, Option<String>) {
        let f = self.finding();
        let (_, units) = self.unit();
        let does = match (&f.metric, units) {
            (Metric::SessionErrorRate, _) => format!("{} meet an error", self.folk().1),
            (_, "tries") => "tries fail".into(),
            _ => "views have an error".into(),
        };
        if f.errors > f.views && f.views > 0 && f.metric == Metric::ErrorRate {
            return (format!("more errors than {units}"), None);
        }
        match self.share() {
            Some(share) => {
                let rate = rate(share, f.baseline);
                (format!("{} {does}", rate.now), rate.usual)
            }
            None => (if f.errors > 0 { count(f.errors, "error", "errors") } else { "errors".into() }, None),
        }
    }

    /// Section 1 while it goes on: the fact, against the usual, since when.
    pub(super) fn fact(&self) -> Phrase {
        if self.kind() == Kind::Configuration {
            return self.configuration_fact();
        }
        let (measure, usual) = self.measure();
        let since = self.time(self.firing().began);
        let phrase = Phrase::new().strong(capital(&measure));
        match self.kind() {
            Kind::Absent => phrase.plain(format!(
                ", since {since}. Cannot tell whether {} or the measurement is down.",
                if self.label("step").is_empty() { "the site" } else { "this step" }
            )),
            Kind::Release => {
                let beside = usual.map(|others| format!("; with the others in the same minutes {others}")).unwrap_or_default();
                phrase.plain(format!(" since {since}{beside}."))
            }
            Kind::New => phrase.plain(format!(" since {since}; never seen {} before.", self.at_place())),
            _ => {
                let usual = usual.map(|usual| format!("; usually {usual}")).unwrap_or_default();
                let times = self.ratio().filter(|r| self.kind() == Kind::Count && *r >= 1.95);
                let times = times.map(|r| format!("; about {} times the usual", numbers::amount(r))).unwrap_or_default();
                let limit = match (self.firing().condition.as_str(), self.business()) {
                    ("frequency" | "threshold", false) => ", beyond the limit that the rule sets",
                    ("frequency" | "threshold", true) => ", more than is acceptable here",
                    _ => "",
                };
                phrase.plain(format!(" since {since}{usual}{times}{limit}."))
            }
        }
    }

    /// Section 2: who is hit. Slices too small to be named are left out.
    pub(super) fn who(&self) -> Option<Phrase> {
        let f = self.finding();
        let named = |share_of_errors: f64, share_of_views: f64| {
            let people = f.sessions.map_or(share_of_views * f.views as f64, |sessions| share_of_errors * sessions as f64);
            people.round() >= SLICE_NAMED_SESSIONS_MIN as f64
        };
        let facets: Vec<_> = f
            .facets
            .iter()
            .filter(|facet| !facet.value.trim().is_empty() && facet.value != crate::model::limits::OTHER)
            .filter(|facet| facet.share_of_errors.is_finite() && named(facet.share_of_errors, facet.share_of_views))
            .filter(|facet| !(self.business() && facet.dim == "release"))
            .take(3)
            .collect();
        let first = facets.first()?;
        let lead = if first.share_of_errors >= 0.5 { "Mostly " } else { "Above all " };
        let views = match first.share_of_views {
            share if (0.0..=1.0).contains(&share) && share > 0.0 => format!("; {} of {}", percent(share), self.unit().1),
            _ => String::new(),
        };
        let mut phrase = Phrase::new().plain(lead).strong(facet_name(&first.dim, &first.value));
        phrase = phrase.plain(format!(" ({} of failures{views})", percent(first.share_of_errors.min(1.0))));
        let rest: Vec<String> = facets[1..]
            .iter()
            .map(|facet| format!("{} ({})", facet_name(&facet.dim, &facet.value), percent(facet.share_of_errors.min(1.0))))
            .collect();
        let rest = if rest.is_empty() { ".".into() } else { format!("; also {}.", rest.join(", ")) };
        Some(phrase.plain(rest))
    }

    /// The first and strongest facet that may be named, alone: for titles.
    pub(super) fn who_short(&self) -> Option<String> {
        let phrase = self.who()?;
        phrase.0.iter().find_map(|span| if let super::phrase::Span::Strong(text) = span { Some(text.clone()) } else { None })
    }

    /// `about 118 shoppers`, else `131 of 2,140 tries`; `None` where nothing is known.
    pub(super) fn affected(&self) -> Option<String> {
        let (one, many) = self.folk();
        match self.totals().2 {
            Some(sessions) if sessions > 0 => Some(people(sessions, one, many)),
            _ => self.counts(),
        }
    }

    /// Errors, views and sessions, the greatest that were told.
    fn totals(&self) -> (u64, u64, Option<u64>) {
        let (one, two) = (self.finding(), self.alert.resolved.as_ref().map(|t| &t.finding));
        match two {
            Some(two) if two.errors >= one.errors => (two.errors, two.views.max(one.views), two.sessions.max(one.sessions)),
            _ => (one.errors, one.views, one.sessions),
        }
    }

    /// `131 of 2,140 tries`.
    pub(super) fn counts(&self) -> Option<String> {
        let (errors, views, _) = self.totals();
        let (one, many) = self.unit();
        match (self.kind(), errors, views) {
            (Kind::Absent | Kind::Configuration, ..) | (_, 0, 0) => None,
            (Kind::Fewer, _, views) => (views > 0).then(|| count(views, one, many)),
            (_, 0, _) => None,
            (_, errors, views) if views >= errors => Some(format!("{} of {}", thousands(errors), count(views, one, many))),
            (_, errors, _) => Some(count(errors, "error", "errors")),
        }
    }

    /// A release just before the onset, told as a coincidence.
    pub(super) fn deploy(&self) -> Option<Phrase> {
        if self.kind() == Kind::Release {
            return self.release_row();
        }
        let deploy = self.finding().deploy.as_ref()?;
        let at = numbers::clock(deploy.at, self.now, self.audience.time_zone);
        Some(Phrase::new().code(foreign::name(&deploy.release)).plain(format!(", {at} (same time, not proven)")))
    }

    /// The most frequent error: (`117 of 124`, quoted text). Not for marketers.
    pub(super) fn top_error(&self) -> Option<(String, String)> {
        let f = self.finding();
        let top = f.top_errors.first().filter(|_| !self.business())?;
        let text = foreign::error(&top.class, &top.message);
        let share = if top.count > 0 && f.errors >= top.count {
            format!("{} of {}", thousands(top.count), thousands(f.errors))
        } else {
            String::new()
        };
        Some((share, text))
    }

    /// The owner, as written.
    pub(super) fn owner(&self) -> Option<String> {
        let transition = self.firing();
        let owner = if transition.owner.is_empty() { transition.labels.get("owner") } else { &transition.owner };
        let owner = foreign::owner(owner);
        (!owner.is_empty()).then_some(owner)
    }

    /// How sure it is that this is no chance, in words.
    pub(super) fn sure(&self) -> Option<&'static str> {
        let (have, needed) = self.finding().evidence?;
        let margin = have - needed;
        if !margin.is_finite() {
            None
        } else if margin >= 7.0 {
            Some("practically no chance event")
        } else if margin >= 2.0 {
            Some("very unlikely to be chance")
        } else {
            Some("unlikely to be chance")
        }
    }

    /// Section 1 when it is over: when, how long, back at what, and the totals.
    pub(super) fn over(&self) -> Option<Phrase> {
        let resolved = self.alert.resolved.as_ref()?;
        if resolved.is_withdrawn() {
            let phrase = Phrase::new().strong(format!("No longer watched since {}", self.time(resolved.at)));
            return Some(phrase.plain(": its rule was removed or changed. Whether it is over is not known."));
        }
        if self.kind() == Kind::Configuration {
            return Some(self.configuration_over(resolved));
        }
        let lasted = numbers::duration(resolved.at.since(self.firing().began));
        let back = match (self.kind(), self.measure().1) {
            (Kind::New, _) => "It no longer appears".to_string(),
            (Kind::Absent, _) => format!("{} come in again", capital(&self.things())),
            (_, Some(usual)) => format!("Back at the usual level, {usual}"),
            _ => "Back at the usual level".into(),
        };
        let phrase = Phrase::new().strong(format!("Over since {}", self.time(resolved.at)));
        let phrase = match self.kind() {
            Kind::Release => self.release_over(resolved),
            _ => phrase.plain(format!(", after {lasted}. {back}.")),
        };
        let told = matches!(self.kind(), Kind::Rate | Kind::Count | Kind::New | Kind::Release);
        let Some(counts) = self.counts().filter(|_| told) else {
            return Some(phrase);
        };
        let verb = if counts.contains(" of ") { " failed" } else { "" };
        let people = self.affected().filter(|affected| *affected != counts);
        let people = people.map(|people| format!(", {people}")).unwrap_or_default();
        Some(phrase.plain(format!(" In all {counts}{verb}{people}.")))
    }
}

/// `browser`, `Mobile Safari` → `Mobile Safari`; `campaign`, `autumn_sale` → `campaign autumn sale`.
fn facet_name(dim: &str, value: &str) -> String {
    let value = foreign::name(value);
    match dim {
        "browser" | "os" | "device" => value,
        "source" => value.replace('_', " "),
        "campaign" => format!("campaign {}", value.replace('_', " ")),
        _ => format!("{} {value}", foreign::name(dim)),
    }
}

/// With its first letter capital, unless it is no word.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
