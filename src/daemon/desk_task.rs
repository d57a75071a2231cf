//! The thread that owns the second core and the store: what the desk decides is stored in one transaction, then done.
//!
//! A database that cannot be written holds up nobody: alerts go on from memory, and what was decided is stored when it can be.
//! Until then no checkpoint is written, so that after a crash the watch decides it again; what was told meanwhile is told twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::desk::{Count, Desk, DeskConfig, Input, Output};
use crate::model::{AttemptResult, Delivery, State, Transition};
use crate::outbox::End;
use crate::store::{Backlog, Store};

use super::clock;
use super::shared::Shared;
use super::trouble::{self, Trouble};

/// How often a database that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long settled messages and closed incidents are kept for people to look at.
const HISTORY: Duration = Duration::from_secs(400 * 86_400);

/// A look at the desk and its store.
pub type Look = Box<dyn FnOnce(&Desk, &Store) + Send>;

/// What the thread hears.
pub enum Message {
    /// The watch has decided.
    Transitions(Vec<Transition>),
    /// How things stand after a start.
    Replayed {
        /// All that fires, by [`Transition::key`]: other alerts that were told are over.
        firing: BTreeSet<u64>,
        /// What of it began to fire within the replay.
        began: Vec<Transition>,
    },
    /// All that is broken in the configuration now.
    Trouble(Vec<Trouble>),
    /// A try to deliver has ended.
    AttemptDone(u64, AttemptResult),
    /// Another configuration.
    Config(Box<DeskConfig>),
    /// Something else for the core (a silence, an acknowledgement).
    Input(Box<Input>),
    /// Look at the desk and its store.
    Read(Look),
    /// Answer if everything before this is stored; drop it if it cannot be.
    Barrier(Sender<()>),
    /// End.
    Stop,
}

/// The state of the thread.
pub struct DeskTask {
    desk: Desk,
    store: Store,
    shared: Arc<Shared>,
    backlog: Backlog,
    /// When the database failed last, while it fails.
    failed: Option<Duration>,
}

impl DeskTask {
    /// Around a restored core.
    pub fn new(desk: Desk, store: Store, shared: Arc<Shared>) -> Self {
        Self { desk, store, shared, backlog: Backlog::default(), failed: None }
    }

    /// Runs until it is stopped. `send` starts a delivery; its result comes back as a message.
    pub fn run(mut self, messages: &Receiver<Message>, send: impl Fn(Delivery)) {
        let mut pruned = None;
        loop {
            let now = clock::now();
            if pruned.is_none_or(|day| day != now.secs() / 86_400) {
                pruned = Some(now.secs() / 86_400);
                if let Err(error) = self.store.prune(now - HISTORY) {
                    tracing::warn!(event = "prune_failed", %error);
                }
            }
            if self.failed.is_some_and(|at| clock::monotonic() - at >= RETRY) {
                self.store();
            }
            let wait = self.desk.next_deadline().map_or(Duration::from_secs(3600), |at| at.since(now));
            let longest = if self.failed.is_some() { RETRY } else { Duration::from_secs(60) };
            let input = match messages.recv_timeout(wait.clamp(Duration::from_millis(1), longest)) {
                Ok(Message::Transitions(transitions)) => Input::Transitions(transitions),
                Ok(Message::Replayed { firing, began }) => Input::Transitions(self.desk.reconcile(now, &firing, began)),
                Ok(Message::Trouble(troubles)) => Input::Transitions(trouble::transitions(&self.desk, now, &troubles)),
                Ok(Message::AttemptDone(delivery, result)) => Input::AttemptDone { delivery, result },
                Ok(Message::Config(config)) => Input::SetConfig(config),
                Ok(Message::Input(input)) => *input,
                Ok(Message::Read(read)) => {
                    read(&self.desk, &self.store);
                    continue;
                }
                Ok(Message::Barrier(answer)) => {
                    if self.store() {
                        let _gone = answer.send(());
                    }
                    continue;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    if !self.store() {
                        tracing::error!(event = "store_behind", "what was told since the database failed will be told again");
                    }
                    return;
                }
                Err(RecvTimeoutError::Timeout) => Input::Tick,
            };
            let outputs = self.desk.handle(clock::now(), input);
            self.perform(outputs, &send);
        }
    }

    fn perform(&mut self, outputs: Vec<Output>, send: &impl Fn(Delivery)) {
        for output in outputs {
            match output {
                Output::Save(records) => {
                    self.backlog.extend(records);
                    // One that fails is tried again in its own time, not with each message.
                    if self.failed.is_none() {
                        self.store();
                    }
                }
                Output::Send(delivery) => send(*delivery),
                Output::Count(count) => self.count(&count),
            }
        }
        self.shared.metrics.desk_incidents.set(self.desk.incidents().filter(|incident| incident.is_firing()).count() as i64);
    }

    /// Whether all that was decided is stored now.
    fn store(&mut self) -> bool {
        if !self.backlog.records().is_empty()
            && let Err(error) = self.store.apply(self.backlog.records())
        {
            self.shared.metrics.store_failures.inc();
            if self.failed.is_none() {
                tracing::error!(event = "store_failed", %error, "alerts go on from memory until the database can be written again");
            }
            self.failed = Some(clock::monotonic());
            self.shared.store_failure.store(Some(Arc::new(error.to_string())));
            return false;
        }
        self.backlog.clear();
        if self.failed.take().is_some() {
            tracing::info!(event = "store_recovered");
            self.shared.store_failure.store(None);
        }
        true
    }

    fn count(&self, count: &Count) {
        match count {
            Count::Taken(State::Firing | State::Resolved) | Count::Ignored(_) => {}
            Count::Settled { delivery, target, reason, end, detail } => {
                self.shared.metrics.delivery(&target.receiver, &target.channel, reason.as_str(), end.as_str());
                if matches!(end, End::GivenUp | End::Undeliverable) {
                    tracing::error!(
                        event = "delivery_lost", delivery, receiver = %target.receiver, channel = %target.channel, end = end.as_str(), detail
                    );
                }
            }
            Count::TargetStopped { target, reason } => tracing::error!(
                event = "target_stopped", receiver = %target.receiver, channel = %target.channel, reason,
                "this receiver takes nothing until it is repaired; it is tried again every hour and after a reload"
            ),
            Count::TargetBack(target) => {
                tracing::info!(event = "target_back", receiver = %target.receiver, channel = %target.channel);
            }
        }
    }
}
