//! Which groups an incident belongs to, through new transitions, storms and new configurations.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Desk;
use crate::dispatch::group::{Member, Timing};
use crate::dispatch::{Group, Route};
use crate::model::{Labels, Timestamp};

/// A storm begins when more than this many groups of one receiver and site …
const STORM_GROUPS: usize = 5;
/// … open within this time. It lasts until nothing has joined for as long.
const STORM_WITHIN: Duration = Duration::from_secs(5 * 60);

impl Desk {
    /// Puts a firing incident into a group of each receiver that its routes name. A receiver hears of an incident in one group
    /// only: the first of its routes decides, and an incident stays in the group it is in.
    pub(super) fn join(&mut self, now: Timestamp, number: u64) {
        let Some(incident) = self.incidents.get(&number) else { return };
        let (labels, site) = (incident.labels().clone(), incident.site().to_owned());
        let routes: Vec<Route> = self.config.route.find(&labels).into_iter().map(shallow).collect();
        let mut receivers = BTreeSet::new();
        for route in routes {
            if !receivers.insert(route.receiver.clone()) || self.is_member(&route.receiver, number) {
                continue;
            }
            let picked = route.group_by.pick(&labels);
            let name = (route.receiver.clone(), format!("{}:{picked}", route.path));
            let name = if self.groups.contains_key(&name) { name } else { self.open_group(now, &route, name, picked, &site) };
            if let Some(group) = self.groups.get_mut(&name) {
                group.orphan = false;
                group.joined = now;
                group.members.insert(number, Member::default());
            }
            self.dirty_groups.insert(name);
        }
    }

    /// Whether a group of the receiver has it already; as a route leads there, the group is no orphan.
    fn is_member(&mut self, receiver: &str, number: u64) -> bool {
        let of = |g: &Group| g.receiver == receiver && g.members.contains_key(&number);
        let Some((name, group)) = self.groups.iter_mut().find(|(_, g)| of(g)) else { return false };
        if group.orphan {
            group.orphan = false;
            self.dirty_groups.insert(name.clone());
        }
        true
    }

    /// Makes the group, or names the storm's that takes its place.
    fn open_group(
        &mut self,
        now: Timestamp,
        route: &Route,
        name: (String, String),
        labels: Labels,
        site: &str,
    ) -> (String, String) {
        let storm_labels = Labels::new().with("site", site);
        let storm = (route.receiver.clone(), format!("storm:{storm_labels}"));
        let lasts = self.groups.get(&storm).is_some_and(|g| now.since(g.joined) <= STORM_WITHIN);
        let recent = self.recent_groups(now, &route.receiver, site);
        if !lasts && recent.len() < STORM_GROUPS {
            let group = Group::new(&name.0, name.1.clone(), labels, Timing::from(route), now);
            self.groups.insert(name.clone(), group);
            return name;
        }
        if !self.groups.contains_key(&storm) {
            let mut group = Group::new(&storm.0, storm.1.clone(), storm_labels, Timing::from(route), now);
            group.storm = true;
            self.groups.insert(storm.clone(), group);
        }
        // What was not told yet need not be told singly.
        for untold in recent {
            if self.groups.get(&untold).is_some_and(Group::is_told) {
                continue;
            }
            let Some(group) = self.groups.remove(&untold) else { continue };
            self.dirty_groups.insert(untold);
            if let Some(into) = self.groups.get_mut(&storm) {
                into.opened = into.opened.min(group.opened);
                into.members.extend(group.members);
            }
        }
        storm
    }

    /// Groups of a receiver and site that opened lately.
    fn recent_groups(&self, now: Timestamp, receiver: &str, site: &str) -> Vec<(String, String)> {
        let of_site = |g: &Group| g.members.keys().filter_map(|n| self.incidents.get(n)).any(|i| i.site() == site);
        self.groups
            .iter()
            .filter(|(_, g)| g.receiver == receiver && !g.storm && now.since(g.opened) <= STORM_WITHIN && of_site(g))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Looks up all routes anew. Who was told stays in the group it was told in; that group takes the timers of the route that
    /// leads to its receiver now, or, where none does, waits to tell the end.
    pub(super) fn rebind(&mut self, now: Timestamp) {
        for (name, group) in &mut self.groups {
            let before = group.clone();
            let mut timing = None;
            group.members.retain(|number, member| {
                let Some(incident) = self.incidents.get(number) else { return false };
                let routes = self.config.route.find(incident.labels());
                let here = routes.into_iter().find(|r| r.receiver == group.receiver);
                timing = timing.take().or_else(|| here.map(Timing::from));
                member.told.is_some() || here.is_some()
            });
            group.orphan = timing.is_none();
            group.timing = timing.unwrap_or_else(|| group.timing.clone());
            if *group != before {
                self.dirty_groups.insert(name.clone());
            }
        }
        let firing: Vec<u64> = self.incidents.values().filter(|i| i.is_firing()).map(|i| i.number).collect();
        for number in firing {
            self.join(now, number);
        }
    }
}

/// A route without its children.
fn shallow(route: &Route) -> Route {
    Route {
        path: route.path.clone(),
        matchers: Vec::new(),
        receiver: route.receiver.clone(),
        group_by: route.group_by.clone(),
        mute_time_intervals: route.mute_time_intervals.clone(),
        active_time_intervals: route.active_time_intervals.clone(),
        routes: Vec::new(),
        ..*route
    }
}
