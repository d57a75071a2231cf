//! Reading a watch: what the API and the page show of its series.

use serde::Serialize;

use crate::model::limits::FUTURE;
use crate::model::{SeriesKey, Timestamp};
use crate::window::Tally;

use super::Watch;
use super::group::Group;

/// Fewest views that a plain rate is called usual on.
const USUAL_VIEWS_MIN: u64 = 500;

/// The latest end of a window's cell after the last event of a series came.
const SEEN_REACH_SECS: i64 = FUTURE.as_secs() as i64 + 10;

/// Which series, over which window.
#[derive(Clone, Debug, Default)]
pub struct SeriesQuery {
    /// Seconds that end now.
    pub window_secs: i64,
    /// Exact; `None`: all.
    pub site: Option<String>,
    /// Exact; `None`: all.
    pub env: Option<String>,
    /// Exact; `None`: all.
    pub page: Option<String>,
    /// Exact; `None`: all.
    pub step: Option<String>,
}

/// One series over the window. What is not known is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesRow {
    /// Which property.
    pub site: String,
    /// Which environment.
    pub env: String,
    /// The page template.
    pub page: String,
    /// The funnel step; empty where it is in none.
    pub step: String,
    /// Views in the window.
    pub views: u64,
    /// Errors in the window.
    pub errors: u64,
    /// Distinct sessions; `None` without sessions.
    pub sessions: Option<u64>,
    /// Distinct sessions with an error.
    pub affected_sessions: Option<u64>,
    /// Errors / views; `None` without views.
    pub error_rate: Option<f64>,
    /// The rate that is usual now; `None` without a baseline.
    pub usual_rate: Option<f64>,
}

impl Watch {
    /// The series that match, in order of site, env, page and step; those without anything in the window are left out.
    pub fn series(&self, query: &SeriesQuery, now: Timestamp) -> Vec<SeriesRow> {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        let from = Timestamp::from_secs(now.secs() - query.window_secs);
        let mut rows = Vec::new();
        let groups = &self.state.cuts[0].groups;
        for (index, head) in groups.heads() {
            let site = &self.state.sites[head.site as usize];
            // Events may be of up to a minute after their arrival, in cells of ten seconds.
            let came = head.seen + SEEN_REACH_SECS >= from.secs();
            if !(came && is(&query.site, &site.name) && is(&query.env, &site.env)) {
                continue;
            }
            let group = groups.look(index);
            let key = &group.key;
            if !(is(&query.page, &key.page) && is(&query.step, &key.step)) {
                continue;
            }
            let tally = group.ring.sum(now, query.window_secs);
            if tally == Tally::default() {
                continue;
            }
            let sessions = group.sessions.since(from);
            rows.push(SeriesRow {
                site: site.name.clone(),
                env: site.env.clone(),
                page: key.page.clone(),
                step: key.step.clone(),
                views: tally.views,
                errors: tally.errors,
                sessions: sessions.map(|(all, _)| all),
                affected_sessions: sessions.map(|(_, affected)| affected),
                error_rate: (tally.views > 0).then(|| tally.errors as f64 / tally.views as f64),
                usual_rate: self.usual_rate(&group, now),
            });
        }
        rows.sort_by(|a, b| (&a.site, &a.env, &a.page, &a.step).cmp(&(&b.site, &b.env, &b.page, &b.step)));
        rows
    }

    /// What is usual for a series: its detector's baseline where a rule keeps one, else the plain rate of the week before the last
    /// hour, where that holds enough views to say anything.
    fn usual_rate(&self, group: &Group, now: Timestamp) -> Option<f64> {
        if let Some(detector) = &group.detector {
            return detector.usual(now.secs_f64(), self.zone_secs(group.site, now));
        }
        let (week, hour) = (group.ring.sum(now, 7 * 86_400), group.ring.sum(now, 3600));
        let views = week.views - hour.views;
        (views >= USUAL_VIEWS_MIN).then(|| (week.errors - hour.errors) as f64 / views as f64)
    }

    /// Views and errors of one series in equal steps that end now, oldest first.
    pub fn steps(&self, row: &SeriesRow, now: Timestamp, step_secs: i64, count: usize) -> Vec<(Timestamp, Tally)> {
        let (site, env, page, step) = (row.site.clone(), row.env.clone(), row.page.clone(), row.step.clone());
        let hash = SeriesKey { site, env, page, step }.labels().fingerprint();
        let group = self.state.cuts[0].index.get(&hash).map(|index| self.state.cuts[0].groups.look(*index as usize));
        group.map(|group| group.ring.steps(now, step_secs, count)).unwrap_or_default()
    }
}
