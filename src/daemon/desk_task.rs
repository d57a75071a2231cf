//! The thread that owns the second core and the store: what the desk decides is stored in one transaction, then done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::alert::Incident;
use crate::desk::{Count, Desk, DeskConfig, Input, Output};
use crate::model::transition::{CONFIGURATION, WITHDRAWN};
use crate::model::{AttemptResult, Delivery, State, Transition};
use crate::outbox::End;
use crate::store::Store;
use crate::telemetry::Metrics;

use super::clock;
use super::trouble::{self, Trouble};

/// How long settled messages and closed incidents are kept for people to look at.
const HISTORY: Duration = Duration::from_secs(400 * 86_400);

/// A look at the desk and its store.
pub type Look = Box<dyn FnOnce(&Desk, &Store) + Send>;

/// What the thread hears.
pub enum Message {
    /// The watch has decided.
    Transitions(Vec<Transition>),
    /// All that fires after a start, by [`Transition::key`]: other alerts that were told are over.
    Firing(BTreeSet<u64>),
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
    /// Answer when everything before this is stored.
    Barrier(Sender<()>),
    /// End.
    Stop,
}

/// The state of the thread.
pub struct DeskTask {
    desk: Desk,
    store: Store,
    metrics: Arc<Metrics>,
}

impl DeskTask {
    /// Around a restored core.
    pub fn new(desk: Desk, store: Store, metrics: Arc<Metrics>) -> Self {
        Self { desk, store, metrics }
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
            let wait = self.desk.next_deadline().map_or(Duration::from_secs(3600), |at| at.since(now));
            let input = match messages.recv_timeout(wait.clamp(Duration::from_millis(1), Duration::from_secs(60))) {
                Ok(Message::Transitions(transitions)) => Input::Transitions(transitions),
                Ok(Message::Firing(keys)) => Input::Transitions(self.over(&keys)),
                Ok(Message::Trouble(troubles)) => Input::Transitions(trouble::transitions(&self.desk, now, &troubles)),
                Ok(Message::AttemptDone(delivery, result)) => Input::AttemptDone { delivery, result },
                Ok(Message::Config(config)) => Input::SetConfig(config),
                Ok(Message::Input(input)) => *input,
                Ok(Message::Read(read)) => {
                    read(&self.desk, &self.store);
                    continue;
                }
                Ok(Message::Barrier(answer)) => {
                    let _gone = answer.send(());
                    continue;
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => Input::Tick,
            };
            let outputs = self.desk.handle(clock::now(), input);
            self.perform(outputs, &send);
        }
    }

    /// The ends of what was told as firing and does not fire: its rule was removed or changed while nobody was looking.
    fn over(&self, firing: &BTreeSet<u64>) -> Vec<Transition> {
        let now = clock::now();
        let mut id = self.desk.taken().get(&0).copied().unwrap_or_default();
        let is_rules = |incident: &&Incident| incident.firing.condition != CONFIGURATION;
        let incidents = self.desk.incidents().filter(is_rules);
        let over = incidents.filter(|incident| incident.is_firing() && !firing.contains(&incident.key));
        over.map(|incident| {
            id.number += 1;
            let reason = format!("{WITHDRAWN} while spiked was not running");
            Transition { id, at: now, state: State::Resolved, reason, ..incident.firing.clone() }
        })
        .collect()
    }

    fn perform(&mut self, outputs: Vec<Output>, send: &impl Fn(Delivery)) {
        for output in outputs {
            match output {
                Output::Save(records) => self.save(&records),
                Output::Send(delivery) => send(*delivery),
                Output::Count(count) => self.count(&count),
            }
        }
        self.metrics.desk_incidents.set(self.desk.incidents().filter(|incident| incident.is_firing()).count() as i64);
    }

    /// Nothing is sent that is not stored: a store that fails holds everything until it works again.
    fn save(&mut self, records: &[crate::desk::Record]) {
        let mut said = false;
        while let Err(error) = self.store.apply(records) {
            if !said {
                said = true;
                tracing::error!(event = "store_failed", %error, "alerts wait until the database can be written again");
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        if said {
            tracing::info!(event = "store_recovered");
        }
    }

    fn count(&self, count: &Count) {
        match count {
            Count::Taken(State::Firing | State::Resolved) | Count::Ignored(_) => {}
            Count::Settled { delivery, target, reason, end, detail } => {
                self.metrics.delivery(&target.receiver, &target.channel, reason.as_str(), end.as_str());
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
