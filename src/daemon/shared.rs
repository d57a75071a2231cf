//! What the tasks share: the settings in force, the log, the queues into the cores. Also the daemon as the web sees it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::oneshot;

use crate::desk::{Desk, Input};
use crate::ingest::encoding::{self, EncodingError};
use crate::ingest::{ArrivalClock, Report, Scratch, native};
use crate::model::{Batch, Dim, Event, Timestamp};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::wal::{CommitError, Committer, Entry};
use crate::watch::Watch;
use crate::web::{self, Access, Change, ChangeError, DecodeError, Decoded, Incoming, IngestError, List, Overview};

use super::settings::{Live, Origin};
use super::spare::Spare;
use super::{clock, desk_task, view, watch_task};

/// Shared by all tasks.
pub struct Shared {
    /// Where the configuration comes from.
    pub origin: Origin,
    /// The settings in force.
    pub live: ArcSwap<Live>,
    /// The log.
    pub committer: Committer,
    /// Into the first core.
    pub watch: SyncSender<watch_task::Message>,
    /// Into the second core.
    pub desk: Sender<desk_task::Message>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Batches to fill.
    pub spare: Spare,
    /// Why the database cannot be written, while it cannot.
    pub store_failure: ArcSwapOption<String>,
    /// The data folder, for the salts.
    pub data_dir: super::data_dir::DataDir,
    /// Set once replay has ended; cleared while stopping.
    pub taking: AtomicBool,
    /// Rises with each change of the settings.
    pub generation: AtomicU64,
    /// One reload at a time.
    pub reloading: tokio::sync::Mutex<()>,
}

thread_local! {
    /// Known pages and texts of this thread, and the generation of the settings they belong to.
    static SCRATCH: RefCell<(u64, Scratch)> = RefCell::new((0, Scratch::new()));
}

impl Shared {
    /// The settings in force.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Looks at the first core.
    pub async fn read_watch<T: Send + 'static>(&self, read: impl FnOnce(&Watch, Timestamp) -> T + Send + 'static) -> Option<T> {
        let (answer, receipt) = oneshot::channel();
        let message = watch_task::Message::Read(Box::new(move |watch, now| {
            let _gone = answer.send(read(watch, now));
        }));
        let queue = self.watch.clone();
        // The queue is bounded: waiting for room must not hold up the runtime.
        tokio::task::spawn_blocking(move || queue.send(message)).await.ok()?.ok()?;
        receipt.await.ok()
    }

    /// Looks at the second core and its store.
    pub async fn read_desk<T: Send + 'static>(&self, read: impl FnOnce(&Desk, &Store) -> T + Send + 'static) -> Option<T> {
        let (answer, receipt) = oneshot::channel();
        let message = desk_task::Message::Read(Box::new(move |desk, store| {
            let _gone = answer.send(read(desk, store));
        }));
        self.desk.send(message).ok()?;
        receipt.await.ok()
    }

    fn decode_native(&self, incoming: &Incoming<'_>) -> Result<Decoded, DecodeError> {
        let live = self.live();
        let limits = &live.settings.config.limits;
        let body = encoding::decode(incoming.body, incoming.encoding, limits.inflated_bytes).map_err(|error| match error {
            EncodingError::Unsupported(..) => DecodeError::UnknownEncoding(error.to_string()),
            EncodingError::TooLarge { .. } => DecodeError::TooLarge(error.to_string()),
            EncodingError::Bad { .. } => DecodeError::Unreadable(error.to_string()),
        })?;
        let (mut batch, mut report) = (self.spare.take(), Report::default());
        batch.reserve_for_body(body.len());
        let reader = native::Reader { door: &live.door, key_site: incoming.site, line_bytes: limits.line_bytes };
        SCRATCH.with_borrow_mut(|(generation, scratch)| {
            if *generation != live.generation {
                (*generation, *scratch) = (live.generation, Scratch::new());
            }
            reader.read(&body, &mut ArrivalClock::Fixed(incoming.now), &mut batch, scratch, &mut report);
        });
        fill_agent(&mut batch, incoming.user_agent);
        for (outcome, count) in &report.outcomes {
            self.metrics.lines(incoming.door.as_str(), *outcome, *count);
        }
        let rejected = report.rejected.into_iter().map(|r| web::Rejected { line: r.line, error: r.error }).collect();
        Ok(Decoded { batch, accepted: report.accepted, rejected })
    }
}

/// Events that a browser sends itself say nothing of the browser: its user agent does.
fn fill_agent(batch: &mut Batch, user_agent: &str) {
    let says_all = |event: &Event| [Dim::Browser, Dim::Os, Dim::Device].iter().all(|dim| !event.dims[*dim as usize].is_empty());
    if user_agent.is_empty() || batch.events.iter().all(says_all) {
        return;
    }
    let agent = crate::ingest::agent::parse(user_agent);
    if agent.bot || agent.browser.is_empty() {
        return;
    }
    let filled = [(Dim::Browser, agent.browser), (Dim::Os, agent.os), (Dim::Device, agent.device)]
        .map(|(dim, value)| (dim as usize, batch.add_text(value)));
    for event in &mut batch.events {
        for (dim, value) in filled {
            if event.dims[dim].is_empty() {
                event.dims[dim] = value;
            }
        }
    }
}

impl web::Backend for Shared {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.live().access)
    }

    fn body_bytes_max(&self) -> usize {
        self.live().settings.config.limits.body_bytes
    }

    fn is_behind_tls(&self) -> bool {
        self.live().settings.config.external_url.starts_with("https://")
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn decode(&self, incoming: Incoming<'_>) -> Result<Decoded, DecodeError> {
        self.decode_native(&incoming)
    }

    async fn ingest(&self, door: web::Door, batch: Batch) -> Result<(), IngestError> {
        let soon = Duration::from_secs(1);
        let unavailable = |reason: String| IngestError::Unavailable { reason, retry_after: soon };
        if !self.taking.load(Ordering::Acquire) {
            return Err(unavailable("spiked is starting or stopping; try again soon".to_owned()));
        }
        let entry = Entry::Batch { source: door.as_str().to_owned(), batch, positions: Vec::new() };
        match self.committer.append(entry).await {
            Ok(_) => Ok(()),
            Err(CommitError::Full) => Err(IngestError::Overloaded { retry_after: soon }),
            Err(CommitError::Failed(reason)) => Err(unavailable(format!("the log cannot be written: {reason}"))),
            Err(CommitError::Stopped) => Err(unavailable("spiked is stopping; try again soon".to_owned())),
        }
    }

    async fn series(&self, query: web::SeriesQuery) -> Vec<web::SeriesRow> {
        self.read_watch(move |watch, now| view::series(watch, &query, now)).await.unwrap_or_default()
    }

    async fn list(&self, list: List) -> Vec<serde_json::Value> {
        match list {
            List::Incidents => self.read_desk(view::incidents).await.unwrap_or_default(),
            List::Deliveries => self.read_desk(view::deliveries).await.unwrap_or_default(),
            List::Rules => view::rules(&self.live().settings.rules),
            List::Outcomes => view::outcomes(&self.metrics),
        }
    }

    async fn incident(&self, id: &str) -> Option<serde_json::Value> {
        let number = crate::alert::Incident::parse_name(id)?;
        self.read_desk(move |desk, store| view::incident(desk, store, number)).await.flatten()
    }

    async fn change(&self, id: &str, change: Change) -> Result<serde_json::Value, ChangeError> {
        let number = crate::alert::Incident::parse_name(id).ok_or(ChangeError::Unknown)?;
        let open = self.read_desk(move |desk, _| desk.incidents().any(|i| i.number == number && i.is_firing())).await;
        if self.incident(id).await.is_none() {
            return Err(ChangeError::Unknown);
        }
        if open != Some(true) {
            return Err(ChangeError::Conflict(format!("{id} is over already")));
        }
        let by = "admin".to_owned();
        let input = match change {
            Change::Ack => Input::Ack { incident: number, by },
            Change::Resolve => Input::ResolveIncident { incident: number, by },
        };
        let _stopping = self.desk.send(desk_task::Message::Input(Box::new(input)));
        self.incident(id).await.ok_or(ChangeError::Unknown)
    }

    fn ready(&self) -> Result<(), String> {
        if !self.taking.load(Ordering::Acquire) {
            return Err("starting or stopping".to_owned());
        }
        match self.committer.failure() {
            Some(reason) => Err(format!("the log cannot be written: {reason}")),
            None => match self.store_failure.load().as_deref() {
                Some(reason) => Err(format!("{reason}; alerts go on from memory")),
                None => Ok(()),
            },
        }
    }

    async fn reload(self: Arc<Self>) -> Result<String, String> {
        super::reload::reload(self).await
    }

    async fn overview(&self) -> Overview {
        let mut overview = Overview {
            now: clock::now(),
            trouble: web::Backend::ready(self).err(),
            base_url: self.live().settings.config.external_url.clone(),
            ..Overview::default()
        };
        let rows = self.read_desk(view::incident_rows).await.unwrap_or_default();
        (overview.firing, overview.recent) = rows.into_iter().partition(|row| row.ended.is_none());
        let pages = self.read_desk(|desk, _| view::firing_pages(desk)).await.unwrap_or_default();
        overview.sites = self.read_watch(move |watch, now| view::tables(watch, now, &pages)).await.unwrap_or_default();
        overview
    }
}
