//! spiked: hears page views and errors, notices when something has really changed, and tells the right people once.
//!
//! This page is the map of the house. Read it before the code, then the modules in the order below; each of them opens with why
//! it exists and what it leaves to others.
//!
//! # Bird's eye
//!
//! Bytes come in over HTTP, from files and from followed access logs. One door turns whatever a client speaks into events. Events
//! are written to a log and acknowledged; then the first core, [`watch`], counts them and says *transitions*: this alert fires,
//! that one is resolved. The second core, [`desk`], makes incidents of transitions and says *deliveries*: this receiver is told
//! that. Both cores are plain state machines: the same inputs give the same outputs, on any machine, at any speed. Everything that
//! touches a clock, a disk or a network stands around them, so a live run, a backtest and a test are one code.
//!
//! ```text
//!  HTTP ──────┐                  ┌────────────── two cores: no clock, no I/O ──────────────┐
//!  files ─────┤                  │                                                         │
//!  stdin ─────┼► ingest ► wal ──►│ watch: window ► rule ► alert ─► desk: alert ► dispatch ►│─► store ─► notifier ─► Slack,
//!  access log ┘  (one door)  ▲   │ (events in, transitions out)    (transitions in,        │  (outbox    (channels)  mail,
//!                            │   │                                  deliveries out) outbox │   on disk)              PagerDuty, …
//!                            │   └───────┬───────────────────────────────────┬─────────────┘
//!                            └ checkpoint┘         web: pages, API, metrics ◄┘
//! ```
//!
//! An event's way in names: bytes → [`ingest::RawEvent`] → [`model::Event`] in a [`model::Batch`] (or a
//! [`model::Outcome`] for what is refused) → counts in a [`window::Ring`] → [`model::Transition`] → [`alert::Incident`] →
//! [`model::Notification`] → [`model::Delivery`] → [`model::AttemptResult`], which goes back into the desk.
//!
//! # The modules, in reading order
//!
//! **F0, vocabulary and mathematics.** [`model`] holds the words that all others speak: events, labels, times, durations,
//! severities, outcomes, transitions, deliveries, and every cap of the process in [`model::limits`]. [`stats`] is pure mathematics
//! on numbers: what is usual, how noisy it is, and how strong the evidence is that it has changed, each with its paper.
//!
//! **F1, the parts of the cores.** [`window`] counts views and errors over rolling time. [`rule`] says what a condition means and
//! decides it, one file per condition. [`alert`] is the state machine inactive → pending → firing → resolved, and the incident
//! that a firing opens. [`dispatch`] answers who hears and when: routes, matchers, groups, silences, inhibition, time intervals.
//! [`outbox`] is delivery policy: order, retries, leases, what a newer message makes needless, fallbacks.
//!
//! **F2, the cores and what is pure around them.** [`watch`] is the first core, one for each shard of the series; [`desk`] is the
//! second, one for the process. [`ingest`] turns bytes of every format into resolved and scrubbed events. [`config`] turns text
//! into a checked configuration and checked rules, with all mistakes at once. [`render`] turns a notification into words and
//! pictures.
//!
//! **F3, hands.** [`wal`] is the log with offsets in front of the watch, and the checkpoints behind it. [`store`] is the SQLite
//! file for what is small and precious: incidents, groups, the outbox. [`notifier`] speaks to Slack, mail servers, PagerDuty,
//! webhooks and the terminal; each channel has a pure `payload` and a `send`. [`web`] is HTTP: doors for events, the API, the page.
//! [`telemetry`] declares every metric and sets up the log.
//!
//! **F4 and F5, the shell.** [`daemon`] ties all of it together: tasks, signals, reload, followed files and the only clock.
//! [`cli`] has one file for each command.
//!
//! # What is not there
//!
//! These hold everywhere; `tests/tidy.rs` and the lints keep them.
//!
//! - Imports never point upwards, and never in a circle. The two cores do not know each other.
//! - F0, F1 and F2 read no clock, no environment, no file and no network, and know no runtime: time is an argument, a file comes
//!   through a reader that is passed in, and randomness through a seed.
//! - The cores do not fail, sleep or log. Bad input was refused at the door.
//! - Nothing in a core's answer depends on the order of a hash map, or on how fast events arrived.
//! - No session, address or secret gets past the door as it came: sessions are hashed with a salt that changes daily.
//! - Nothing that came in vanishes without a counted [`model::Outcome`], and nothing grows without a limit.
//! - A rate is never judged without its sample size, and silence never counts as good news.
//! - A transition and the deliveries it causes are never written apart: both are in one transaction, or neither is.
//! - Only `config/yaml.rs` knows the YAML crate, only `ingest` and `web` know what clients look like.
//! - There is no `unsafe`, no `unwrap` outside of tests, and no file of more than 600 lines.

pub mod model;
pub mod stats;

pub mod alert;
pub mod dispatch;
pub mod outbox;
pub mod rule;
pub mod window;

pub mod config;
pub mod desk;
pub mod ingest;
pub mod render;
pub mod watch;

pub mod notifier;
pub mod store;
pub mod telemetry;
pub mod wal;
pub mod web;

pub mod cli;
pub mod daemon;

/// Many small texts and vectors live for a moment and pass from thread to thread; the system's allocator locks and trims its heaps
/// for them. Here, so that benches measure what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
