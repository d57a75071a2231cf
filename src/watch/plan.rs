//! Rules compiled to cuts. A cut is one way of grouping the events of a shard: which events, by which keys, which of them count
//! as tries and which as errors. Rules that cut alike share groups, windows and what was learned.

use serde::{Deserialize, Serialize};

use crate::model::batch::hash_text;
use crate::model::{Batch, Dim, Event, Kind, Metric, Text};
use crate::rule::{Condition, ErrorFilter, GroupBy, Pattern, Rule, Select};

use super::WatchConfig;

/// What the two counters of a cut's groups hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Signal {
    /// Views and errors.
    Rate,
    /// Sessions and sessions with an error (each once an hour).
    Sessions,
    /// Named events in place of views.
    Track(String),
    /// Sessions at a funnel step, and at the next one in place of errors.
    Conversion,
}

/// One way of grouping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cut {
    /// Stable over restarts and edits: what was learned is found again by it.
    pub(crate) id: u64,
    pub(crate) select: Select,
    pub(crate) errors: ErrorFilter,
    pub(crate) by: Vec<GroupBy>,
    pub(crate) signal: Signal,
    /// Rules on this cut, as indices into the plan's rules.
    pub(crate) rules: Vec<usize>,
    pub(crate) asks: Asks,
}

/// What the rules of a cut need to know of an event beyond counts: the rest is not kept for its groups.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Asks {
    /// Who came, and who met an error.
    pub(crate) sessions: bool,
    /// Counts by dimension.
    pub(crate) slices: bool,
    /// Counts by the clock.
    pub(crate) drops: bool,
    /// Releases held against each other.
    pub(crate) releases: bool,
    /// Whether an error may decide at once.
    pub(crate) frequencies: bool,
}

impl Asks {
    fn add(&mut self, condition: &Condition) {
        self.sessions |= !matches!(condition, Condition::Absent(_) | Condition::Drop(_));
        self.slices |= matches!(condition, Condition::Spike(_) | Condition::Release(_));
        self.drops |= matches!(condition, Condition::Drop(_));
        self.releases |= matches!(condition, Condition::Release(_));
        self.frequencies |= matches!(condition, Condition::Frequency(_));
    }
}

/// All cuts; the first is the series themselves, whether or not a rule looks at them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) rules: Vec<Rule>,
    /// [`Rule::condition_id`] of each.
    pub(crate) conditions: Vec<u64>,
    pub(crate) cuts: Vec<Cut>,
    /// Whether any rule compares releases: only then is it noted when visits began.
    pub(crate) compares_releases: bool,
}

impl Plan {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        let mut series = Cut::new(Select::default(), ErrorFilter::default(), Cut::series_keys(), Signal::Rate);
        // The tables of pages say who came, whatever the rules ask.
        series.asks.sessions = true;
        let mut cuts = vec![series];
        for (index, rule) in rules.iter().enumerate() {
            let cut = Cut::of(rule);
            let place = cuts.iter().position(|known| known.id == cut.id).unwrap_or_else(|| {
                cuts.push(cut);
                cuts.len() - 1
            });
            cuts[place].rules.push(index);
            cuts[place].asks.add(&rule.condition);
        }
        let conditions = rules.iter().map(Rule::condition_id).collect();
        let compares_releases = rules.iter().any(|rule| matches!(rule.condition, Condition::Release(_)));
        Self { rules, conditions, cuts, compares_releases }
    }

    /// A hash of all that decides which groups a series belongs to and which rules look at a group.
    pub(crate) fn links_hash(&self, config: &WatchConfig) -> u64 {
        let selects: Vec<_> = self.rules.iter().map(|rule| &rule.select).collect();
        let cuts: Vec<_> = self.cuts.iter().map(|cut| (cut.id, &cut.rules)).collect();
        let funnels: Vec<_> = config.sites.iter().map(|(name, site)| (name, &site.funnels)).collect();
        hash_text(&format!("{:?}\n{selects:?}\n{cuts:?}\n{funnels:?}\n{:?}", self.conditions, config.default_site.funnels))
    }
}

impl Cut {
    fn new(select: Select, errors: ErrorFilter, by: Vec<GroupBy>, signal: Signal) -> Self {
        let id = hash_text(&format!("{select:?}\n{errors:?}\n{by:?}\n{signal:?}"));
        Self { id, select, errors, by, signal, rules: Vec::new(), asks: Asks::default() }
    }

    fn series_keys() -> Vec<GroupBy> {
        vec![GroupBy::Page, GroupBy::Step]
    }

    fn of(rule: &Rule) -> Self {
        let errors = match &rule.condition {
            Condition::Spike(c) => c.errors.clone(),
            Condition::FirstSeen(c) => c.errors.clone(),
            Condition::Frequency(c) => c.errors.clone(),
            Condition::Threshold(c) => c.errors.clone(),
            Condition::Release(c) => c.errors.clone(),
            Condition::Drop(_) | Condition::Absent(_) => ErrorFilter::default(),
        };
        let is_compared = matches!(rule.condition, Condition::Spike(_) | Condition::Release(_));
        let signal = match rule.condition.metric() {
            Some(Metric::Conversion) => Signal::Conversion,
            Some(Metric::Track(name)) => Signal::Track(name.clone()),
            Some(Metric::SessionErrorRate) if is_compared => Signal::Sessions,
            _ => Signal::Rate,
        };
        let mut by = rule.by.clone();
        by.sort_by_key(|key| key.as_str().to_owned());
        by.dedup();
        let is_series = by == Self::series_keys() && rule.select.is_series_only() && errors.is_all();
        let select = if is_series { Select::default() } else { rule.select.clone() };
        let mut cut = Self::new(select, errors, by, signal);
        if !is_series && matches!(rule.condition, Condition::Drop(_) | Condition::Absent(_)) {
            // Groups that know nothing of sessions are never those of a rule that asks for them.
            cut.id = hash_text(&format!("{:x} without sessions", cut.id));
        }
        cut
    }

    /// Whether groups of this cut are series, so that a rule's `where` is asked once for each group.
    pub(crate) fn is_series(&self) -> bool {
        self.by == Self::series_keys() && self.select == Select::default()
    }

    /// Whether the group of an event follows from its series alone.
    pub(crate) fn follows_series(&self) -> bool {
        let fixed = self.select.is_series_only() && self.signal != Signal::Conversion;
        fixed && !self.by.iter().any(|key| matches!(key, GroupBy::Dim(_) | GroupBy::Tag(_)))
    }

    /// Whether the event's dimensions and tags pass the cut's `where`. Site, env, page and step were asked for the series.
    pub(crate) fn event_passes(&self, batch: &Batch, event: &Event) -> bool {
        self.select.dims.iter().all(|(dim, patterns)| Pattern::all_pass(patterns, batch.str(dim_of(event, *dim))))
            && self.select.tags.iter().all(|(name, patterns)| Pattern::all_pass(patterns, tag_of(batch, event, name)))
    }

    /// What an event adds to the two counters: (tries, errors). `None`: nothing.
    pub(crate) fn counts(&self, batch: &Batch, event: &Event) -> Option<(u64, u64)> {
        let count = u64::from(event.count);
        match (event.kind, &self.signal) {
            (Kind::View, Signal::Rate | Signal::Sessions) => Some((count, 0)),
            (Kind::Error, Signal::Rate | Signal::Sessions) => self.error_passes(batch, event).then_some((0, count)),
            (Kind::Track, Signal::Track(name)) => (batch.str(batch.track(event).name) == name).then_some((count, 0)),
            _ => None,
        }
    }

    fn error_passes(&self, batch: &Batch, event: &Event) -> bool {
        if self.errors.is_all() {
            return true;
        }
        let error = batch.error(event);
        let status = |patterns: &[Pattern]| {
            patterns.is_empty()
                || Pattern::all_pass(patterns, &error.status.to_string())
                || Pattern::all_pass(patterns, &format!("{}xx", error.status / 100))
        };
        let vendor = batch.str(dim_of(event, Dim::Vendor));
        Pattern::all_pass(&self.errors.class, batch.str(error.class))
            && status(&self.errors.status)
            && Pattern::all_pass(&self.errors.vendor, vendor)
            && Pattern::all_pass(&self.errors.level, batch.str(error.level))
    }
}

/// The value of a dimension of an event.
pub(crate) fn dim_of(event: &Event, dim: Dim) -> Text {
    event.dims[dim as usize]
}

/// The value of a tag of an event; empty where it has none.
pub(crate) fn tag_of<'a>(batch: &'a Batch, event: &Event, name: &str) -> &'a str {
    let tags = &batch.tags[event.tags.0 as usize..event.tags.1 as usize];
    tags.iter().find(|(key, _)| batch.str(*key) == name).map_or("", |(_, value)| batch.str(*value))
}
