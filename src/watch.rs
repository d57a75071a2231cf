//! The first core: events in, alert transitions out.
//!
//! A watch owns the windows, the detectors and the alert states of one shard: all sites and environments whose hash falls there,
//! so that a group (which always has its site and env) never spans two shards. It does no I/O and reads no clock: what it does is a
//! function of the sequence of its inputs, whatever their speed, so live runs, backtests and tests are one code. Its whole state
//! goes out as a checkpoint and comes back.
//!
//! Time moves by arrivals and ticks. Events of one second of arrival are gathered and judged together when the second is over,
//! group by group, and only the groups that were touched; what must happen without events (a window slides, an absence, `for`)
//! waits in a queue of deadlines. Nothing ever scans all series but the hourly count for budgets.

mod budgets;
mod deadlines;
mod drop;
mod early;
mod finding;
mod gathered;
mod group;
mod groups;
mod judge;
mod packed;
mod plan;
mod query;
mod release;
mod releases;
mod relink;
mod site;
mod slices;
mod step;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::model::limits::{DEDUP_WINDOW, ENVS_PER_SITE, OTHER, SITES};
use crate::model::series::SeriesKey;
use crate::model::{Batch, Dim, Event, HashedMap, Kind, Outcome, Refusal, Timestamp, Transition};
use crate::rule::{Bound, Condition, Rule};

use deadlines::Deadlines;
use group::{Group, GroupKey, Hit, RuleState};
use groups::Groups;
use plan::{Cut, Plan, Signal};
use site::Site;

pub use query::{SeriesQuery, SeriesRow};
pub use tally::Tally;

/// What a watch must know beyond its inputs. It can be written down, so that a replay judges by what was in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WatchConfig {
    /// All rules.
    pub rules: Vec<Rule>,
    /// Sites by name.
    pub sites: BTreeMap<String, SitePlan>,
    /// A site that is not named.
    pub default_site: SitePlan,
    /// Events older than this when they arrive teach nothing.
    pub lateness: Duration,
    /// Series of a site and environment beyond this are counted in `other`.
    pub series_per_site: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            sites: BTreeMap::new(),
            default_site: SitePlan::default(),
            lateness: crate::model::limits::LATENESS,
            series_per_site: crate::model::limits::Limits::default().series_per_site,
        }
    }
}

/// What the watch must know of a site.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SitePlan {
    /// For seasons.
    #[serde(with = "zone")]
    pub time_zone: Tz,
    /// Funnels: name and steps in order.
    pub funnels: Vec<(String, Vec<String>)>,
    /// Owners: page globs and name; the first that fits.
    pub owners: Vec<(Vec<String>, String)>,
}

/// A time zone by its name.
mod zone {
    use chrono_tz::Tz;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(zone: &Tz, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(zone.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Tz, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// What a watch hears.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Events with their arrival times, which never decrease.
    Events(&'a Batch),
    /// Time passes.
    Tick(Timestamp),
    /// The process was away until now: absences count from here.
    Resume(Timestamp),
    /// History has been loaded: keep what was learned, forget what fires.
    EndOfHistory,
    /// No more events will come: judge what is gathered at its own time.
    End,
}

/// What a watch says. Reused from call to call; the caller empties it.
#[derive(Debug, Default)]
pub struct Output {
    /// In order.
    pub transitions: Vec<Transition>,
    /// How the lines of the input ended.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Said aloud once each.
    pub notices: Vec<Notice>,
}

/// Something an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A site reached its limit of series; further ones are counted in `other`.
    SeriesLimit {
        /// The site.
        site: String,
        /// The environment.
        env: String,
        /// The limit.
        limit: usize,
    },
}

/// The first core. See the [module](self) for its contract.
pub struct Watch {
    config: Arc<WatchConfig>,
    plan: Plan,
    state: State,
    /// Names the transitions of the input at hand.
    offset: u64,
    number: u32,
    /// What the streams of the group at hand showed: kept, so that a look costs no allocation.
    looks: Vec<judge::Seen>,
    /// Hashes that are among [`State::names`], by their lowest bits.
    named: Box<[u32; NAMED]>,
    tally: Tally,
}

/// All that a checkpoint holds.
#[derive(Serialize, Deserialize)]
struct State {
    shard: u32,
    sites: Vec<Site>,
    site_index: HashedMap<u32>,
    series: HashedMap<Series>,
    /// [`Plan::links_hash`] of the plan that groups and links were made by.
    links_hash: u64,
    /// Cut and group ([`NO_GROUP`]: depends on the event) of all series, one after the other.
    links: Vec<(u32, u32)>,
    cuts: Vec<CutState>,
    /// The second of arrival that is being gathered.
    second: i64,
    touched: Vec<(u32, u32)>,
    /// Groups that are tried before the second is over, and when.
    suspects: Vec<(u32, u32)>,
    early: Timestamp,
    /// The last second in which something was told early.
    early_second: i64,
    /// Values of dimensions, for slices that are made of what was noted.
    names: slices::Names,
    deadlines: Deadlines,
    resumed: Timestamp,
    budgets: budgets::Budgets,
}

#[derive(Default, Serialize, Deserialize)]
struct CutState {
    id: u64,
    groups: Groups,
    index: HashedMap<u32>,
}

/// Whether a rule has something to say of a group to which nothing comes.
fn judges_silence(rule: &Rule) -> bool {
    match &rule.condition {
        Condition::Absent(_) => true,
        Condition::Threshold(threshold) => matches!(threshold.bound, Bound::Below(_)),
        Condition::Drop(_) | Condition::Spike(_) | Condition::FirstSeen(_) | Condition::Frequency(_) | Condition::Release(_) => {
            false
        }
    }
}

/// A series' site, and its places in the cuts: so many of [`State::links`] from there on.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Series {
    site: u32,
    from: u32,
    count: u32,
}

/// Values of dimensions that are known at a glance to be noted.
const NAMED: usize = 1024;

/// Stands for a group that depends on the event.
const NO_GROUP: u32 = u32::MAX;

/// A checkpoint that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint cannot be read: {0}")]
pub struct BadCheckpoint(String);

impl BadCheckpoint {
    /// From what the reader said.
    pub fn new(error: &dyn std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl Watch {
    /// An empty watch.
    pub fn new(shard: u32, config: Arc<WatchConfig>) -> Self {
        let plan = Plan::new(config.rules.clone());
        let cuts = plan.cuts.iter().map(|cut| CutState { id: cut.id, ..CutState::default() }).collect();
        let state = State {
            shard,
            sites: Vec::new(),
            site_index: HashedMap::default(),
            series: HashedMap::default(),
            links_hash: plan.links_hash(&config),
            links: Vec::new(),
            cuts,
            second: 0,
            touched: Vec::new(),
            suspects: Vec::new(),
            early: Timestamp::default(),
            early_second: 0,
            names: slices::Names::default(),
            deadlines: Deadlines::default(),
            resumed: Timestamp::default(),
            budgets: budgets::Budgets::default(),
        };
        let mut watch = Self {
            config,
            plan,
            state,
            offset: 0,
            number: 0,
            looks: Vec::new(),
            named: Box::new([0; NAMED]),
            tally: Tally::default(),
        };
        watch.set_alphas();
        watch
    }

    /// The whole state, for [`Watch::restore`].
    pub fn checkpoint(&self) -> Vec<u8> {
        self.checkpoint_after(Vec::new())
    }

    /// As [`Watch::checkpoint`], written behind `head`: a large state is not copied to put something in front of it.
    pub fn checkpoint_after(&self, head: Vec<u8>) -> Vec<u8> {
        postcard::to_extend(&self.state, head).expect("plain data serialises into memory")
    }

    /// A watch as it was when the checkpoint was taken, under a configuration that may have changed since. The checkpoint does not
    /// know the rules that are gone: who was told of their alerts is found by comparing with [`Watch::firing`].
    pub fn restore(bytes: &[u8], config: Arc<WatchConfig>) -> Result<Self, BadCheckpoint> {
        let state: State = postcard::from_bytes(bytes).map_err(|e| BadCheckpoint(e.to_string()))?;
        let mut watch = Self::new(state.shard, Arc::clone(&config));
        watch.state = state;
        watch.set_config(config, u64::MAX, &mut Output::default());
        Ok(watch)
    }

    /// Takes one input. `offset` is where it stands in the log; it names the transitions.
    pub fn handle(&mut self, offset: u64, input: Input, out: &mut Output) {
        self.begin(offset);
        match input {
            Input::Events(batch) => self.take(batch, out),
            Input::Tick(now) => self.advance(now, out),
            Input::Resume(now) => {
                // First: an absence whose time ran out meanwhile is none.
                self.state.resumed = now;
                self.advance(now, out);
            }
            Input::EndOfHistory => self.forget_alerts(),
            Input::End => self.judge_touched(self.newest_arrival(), out),
        }
    }

    fn begin(&mut self, offset: u64) {
        if self.offset != offset {
            (self.offset, self.number) = (offset, 0);
        }
    }

    /// When the watch has something to do even if no event comes.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let close = (!self.state.touched.is_empty()).then(|| Timestamp::from_secs(self.state.second + 1));
        let wake = self.state.deadlines.first();
        close.into_iter().chain(wake).chain(self.early()).min()
    }

    /// What was weighed and not told, since this watch was made.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// How many series are kept.
    pub fn series_count(&self) -> usize {
        self.state.cuts[0].groups.len()
    }

    /// The rules in force.
    pub fn rules(&self) -> &[Rule] {
        &self.plan.rules
    }

    fn newest_arrival(&self) -> Timestamp {
        self.state.sites.iter().map(|site| site.seen).max().unwrap_or_default()
    }

    fn take(&mut self, batch: &Batch, out: &mut Output) {
        let mut dropped = false;
        for event in &batch.events {
            if event.companion {
                if !dropped {
                    self.count(batch, event, out);
                }
                continue;
            }
            self.advance(event.arrival, out);
            let outcome = self.admit(batch, event, out);
            dropped = outcome != Outcome::Accepted;
            *out.outcomes.entry(outcome).or_default() += 1;
        }
    }

    fn admit(&mut self, batch: &Batch, event: &Event, out: &mut Output) -> Outcome {
        let Some(site) = self.site_of(batch, event) else { return Outcome::Limited(Refusal::Sites) };
        let keep = DEDUP_WINDOW.as_millis() as i64;
        if event.id != 0 && self.state.sites[site as usize].ids.is_repeat(event.arrival, event.id, keep) {
            return Outcome::Duplicate;
        }
        if event.arrival.since(event.at) > self.config.lateness {
            return Outcome::Late;
        }
        self.state.sites[site as usize].note_event(batch, event);
        self.count(batch, event, out);
        Outcome::Accepted
    }

    fn site_of(&mut self, batch: &Batch, event: &Event) -> Option<u32> {
        let hash = u64::from(event.site.hash()) << 32 | u64::from(event.env.hash());
        if let Some(site) = self.state.site_index.get(&hash) {
            return Some(*site);
        }
        let name = batch.str(event.site);
        let envs = self.state.sites.iter().filter(|site| site.name == name).count();
        if self.state.sites.len() >= SITES || envs >= ENVS_PER_SITE {
            return None;
        }
        let index = self.state.sites.len() as u32;
        self.state.sites.push(Site::new(batch.str(event.site), batch.str(event.env), event.arrival));
        self.state.site_index.insert(hash, index);
        Some(index)
    }

    /// Counts an accepted event into all groups it belongs to.
    fn count(&mut self, batch: &Batch, event: &Event, out: &mut Output) {
        match event.kind {
            Kind::Heartbeat => return,
            Kind::Deploy => {
                if let Some(site) = self.site_of(batch, event) {
                    let release = batch.str(plan::dim_of(event, Dim::Release));
                    self.state.sites[site as usize].releases.note_deploy(batch.str(event.page), release, event.at);
                }
                return;
            }
            Kind::View | Kind::Error | Kind::Track => {}
        }
        let Some(series) = self.series_of(batch, event, out) else { return };
        self.note_names(batch, event);
        let Series { site, from, count } = series;
        let visit = self.note_visit(site, event);
        for place in from..from + count {
            let (cut, group) = self.state.links[place as usize];
            let spec = &self.plan.cuts[cut as usize];
            if spec.signal == Signal::Conversion {
                self.count_step(cut, site, batch, event);
                continue;
            }
            let Some((views, errors)) = spec.counts(batch, event) else { continue };
            let (by_session, asks) = (spec.signal == Signal::Sessions, spec.asks);
            let group = if group == NO_GROUP {
                if !spec.event_passes(batch, event) {
                    continue;
                }
                self.event_group(cut, site, batch, event, batch.str(event.step))
            } else {
                group
            };
            let found = &mut self.state.cuts[cut as usize].groups[group as usize];
            let newcomer = self.state.sites[site as usize].releases.newcomer(plan::dim_of(event, Dim::Release).hash());
            found.add(&Hit { batch, event, views, errors, by_session, asks, newcomer, visit });
            if !found.touched {
                found.touched = true;
                self.state.touched.push((cut, group));
            }
            if errors > 0 {
                self.judge_novelty(cut, group, batch, event, out);
                self.note_suspect(cut, group, event.arrival);
            }
        }
    }

    /// Keeps the values of dimensions, for slices that are made of them later.
    fn note_names(&mut self, batch: &Batch, event: &Event) {
        for value in event.dims.into_iter().filter(|value| !value.is_empty()) {
            let hash = value.hash();
            let known = &mut self.named[hash as usize % NAMED];
            if *known != hash {
                *known = hash;
                self.state.names.entry(u64::from(hash)).or_insert_with(|| batch.str(value).to_owned());
            }
        }
    }

    /// The event's series, made if it is new: `other` when the site has as many as it may.
    fn series_of(&mut self, batch: &Batch, event: &Event, out: &mut Output) -> Option<Series> {
        if let Some(series) = self.state.series.get(&event.series) {
            return Some(*series);
        }
        let site = self.site_of(batch, event)?;
        let known = &mut self.state.sites[site as usize];
        let (name, env) = (known.name.clone(), known.env.clone());
        let mut key =
            SeriesKey { site: name, env, page: batch.str(event.page).to_owned(), step: batch.str(event.step).to_owned() };
        let mut hash = event.series;
        if known.series >= self.config.series_per_site {
            if !known.full {
                known.full = true;
                let (site, env) = (key.site.clone(), key.env.clone());
                out.notices.push(Notice::SeriesLimit { site, env, limit: self.config.series_per_site });
            }
            (key.page, key.step) = (OTHER.to_owned(), String::new());
            hash = key.hash();
            if let Some(series) = self.state.series.get(&hash) {
                return Some(*series);
            }
        }
        known.series += 1;
        Some(self.add_series(hash, site, &key, event.arrival))
    }

    fn add_series(&mut self, hash: u64, site: u32, key: &SeriesKey, now: Timestamp) -> Series {
        let links = self.links_of(site, key, now);
        let series = Series { site, from: self.state.links.len() as u32, count: links.len() as u32 };
        self.state.links.extend(links);
        self.state.series.insert(hash, series);
        series
    }

    /// The groups of a series, cut by cut; groups that do not exist are made.
    fn links_of(&mut self, site: u32, key: &SeriesKey, now: Timestamp) -> Vec<(u32, u32)> {
        let mut links = Vec::new();
        for cut in 0..self.plan.cuts.len() {
            let spec = &self.plan.cuts[cut];
            let passes = |step: &str| spec.select.series_passes(&key.site, &key.env, &key.page, step);
            let is_wanted = match spec.signal {
                Signal::Conversion => self.steps_counted(&key.site, &key.step).iter().any(|(step, _)| passes(step)),
                _ => passes(&key.step),
            };
            if !is_wanted {
                continue;
            }
            let group = if spec.follows_series() { self.group(cut as u32, site, key, Vec::new(), now) } else { NO_GROUP };
            links.push((cut as u32, group));
        }
        links
    }

    /// The group of an event in a cut whose groups depend on dimensions or tags.
    fn event_group(&mut self, cut: u32, site: u32, batch: &Batch, event: &Event, step: &str) -> u32 {
        use crate::rule::GroupBy;
        let by = &self.plan.cuts[cut as usize].by;
        let others = by
            .iter()
            .filter_map(|key| match key {
                GroupBy::Dim(dim) => Some((key, batch.str(plan::dim_of(event, *dim)))),
                GroupBy::Tag(name) => Some((key, plan::tag_of(batch, event, name))),
                GroupBy::Page | GroupBy::Step => None,
            })
            .map(|(key, value)| (key.as_str().to_owned(), value.to_owned()))
            .collect();
        let site_name = &self.state.sites[site as usize];
        let key = SeriesKey {
            site: site_name.name.clone(),
            env: site_name.env.clone(),
            page: batch.str(event.page).to_owned(),
            step: step.to_owned(),
        };
        self.group(cut, site, &key, others, event.arrival)
    }

    /// The group of a cut with these keys, made if it is new.
    fn group(&mut self, cut: u32, site: u32, key: &SeriesKey, others: Vec<(String, String)>, now: Timestamp) -> u32 {
        use crate::rule::GroupBy;
        let spec = &self.plan.cuts[cut as usize];
        let pick = |wanted: GroupBy, value: &str| if spec.by.contains(&wanted) { value.to_owned() } else { String::new() };
        let (page, step) = (pick(GroupBy::Page, &key.page), pick(GroupBy::Step, &key.step));
        let mut labels = SeriesKey { page: page.clone(), step: step.clone(), ..key.clone() }.labels();
        for (name, value) in &others {
            labels.set(name.clone(), value.clone());
        }
        let hash = labels.fingerprint();
        let state = &mut self.state.cuts[cut as usize];
        if let Some(group) = state.index.get(&hash) {
            return *group;
        }
        // Groups of an event's dimensions are bounded like series: beyond, they share one group.
        let full = state.groups.len() >= self.config.series_per_site.saturating_mul(4) && !others.is_empty();
        let (hash, others) = if full {
            let pooled: Vec<_> = others.into_iter().map(|(name, _)| (name, OTHER.to_owned())).collect();
            for (name, value) in &pooled {
                labels.set(name.clone(), value.clone());
            }
            (labels.fingerprint(), pooled)
        } else {
            (hash, others)
        };
        if let Some(group) = state.index.get(&hash) {
            return *group;
        }
        let index = state.groups.len() as u32;
        let mut group = Group::new(GroupKey { hash, page, step, others }, site, now);
        group.rules = Self::rule_states(spec, &self.plan, key);
        state.groups.push(group);
        state.index.insert(hash, index);
        index
    }

    fn rule_states(cut: &Cut, plan: &Plan, key: &SeriesKey) -> Vec<RuleState> {
        cut.rules
            .iter()
            .filter(|rule| !cut.is_series() || plan.rules[**rule].select.series_passes(&key.site, &key.env, &key.page, &key.step))
            .map(|rule| RuleState::new(*rule, plan.conditions[*rule]))
            .collect()
    }
}
