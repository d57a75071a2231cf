//! The SQLite file: opened with a write-ahead log and a full sync for each commit, migrated forward, never backward.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::alert::Incident;
use crate::desk::{Record, Restored};
use crate::model::{Delivery, Timestamp};
use crate::outbox::{Queued, Settled};

/// In order; the file's `user_version` is how many of them it has seen.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("the database cannot {doing}; check its disk and permissions")]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A newer version wrote the file.
    #[error("the database has version {found}, this program knows up to {known}; run the newer program, or restore a copy")]
    Newer {
        /// The file's version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A row is not what was written.
    #[error("a row of `{table}` cannot be read; restore the database from a copy")]
    Row {
        /// Where.
        table: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A value cannot be written.
    #[error("a value cannot be written down as JSON; please report this")]
    Encode(#[source] serde_json::Error),
    /// The integrity check found damage.
    #[error("the database is damaged ({0}); restore it from a copy")]
    Damaged(String),
}

type Result<T> = std::result::Result<T, StoreError>;

fn cannot(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { doing, source }
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Opens or makes the file, and brings it to the newest version.
    pub fn open(path: &Path) -> Result<Self> {
        Self::prepare(Connection::open(path).map_err(cannot("be opened"))?)
    }

    /// A store that is gone with the process, for tests and dry runs.
    pub fn in_memory() -> Result<Self> {
        Self::prepare(Connection::open_in_memory().map_err(cannot("be opened"))?)
    }

    fn prepare(mut connection: Connection) -> Result<Self> {
        let set = |c: &Connection| -> rusqlite::Result<i64> {
            c.busy_timeout(std::time::Duration::from_secs(5))?;
            c.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            c.execute_batch("PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;")?;
            c.query_row("PRAGMA user_version", [], |row| row.get(0))
        };
        let found = set(&connection).map_err(cannot("be set up"))?;
        let known = MIGRATIONS.len() as i64;
        if found > known || found < 0 {
            return Err(StoreError::Newer { found, known });
        }
        for (version, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
            let migrate = |c: &mut Connection| -> rusqlite::Result<()> {
                let tx = c.transaction()?;
                tx.execute_batch(sql)?;
                tx.pragma_update(None, "user_version", version as i64 + 1)?;
                tx.commit()
            };
            migrate(&mut connection).map_err(cannot("be migrated"))?;
        }
        Ok(Self { connection })
    }

    /// Stores all records in one transaction, durable when it returns.
    pub fn apply(&mut self, records: &[Record]) -> Result<()> {
        let tx = self.connection.transaction().map_err(cannot("begin a transaction"))?;
        for record in records {
            write(&tx, record)?;
        }
        tx.commit().map_err(cannot("be written"))
    }

    /// All that the desk needs to go on.
    pub fn restore(&self) -> Result<Restored> {
        let mut restored = Restored::default();
        let mut records: Vec<Record> = Vec::new();
        let mut taken = self.bodies("taken", "SELECT id FROM taken ORDER BY shard")?;
        records.extend(taken.drain(..).map(Record::Taken));
        let incidents: Vec<Incident> = self.bodies("incidents", "SELECT body FROM incidents WHERE live = 1 ORDER BY number")?;
        records.extend(incidents.into_iter().map(|i| Record::Incident(Box::new(i))));
        let groups = self.bodies("groups", "SELECT body FROM groups ORDER BY receiver, key")?;
        records.extend(groups.into_iter().map(|g| Record::Group(Box::new(g))));
        let queue: Vec<Queued> = self.bodies("deliveries", "SELECT body FROM deliveries WHERE state = 'queued' ORDER BY id")?;
        records.extend(queue.into_iter().map(|q| Record::Delivery(Box::new(q))));
        records.extend(self.bodies("targets", "SELECT body FROM targets ORDER BY name")?.into_iter().map(Record::Target));
        records.extend(self.bodies("silences", "SELECT body FROM silences ORDER BY id")?.into_iter().map(Record::Silence));
        records.extend(self.bodies("meta", "SELECT value FROM meta WHERE key = 'counters'")?.into_iter().map(Record::Counters));
        for record in &records {
            restored.apply(record);
        }
        Ok(restored)
    }

    /// The newest incidents, open and over, newest first.
    pub fn incidents(&self, limit: u32) -> Result<Vec<Incident>> {
        self.bodies("incidents", &format!("SELECT body FROM incidents ORDER BY number DESC LIMIT {limit}"))
    }

    /// One incident by its number.
    pub fn incident(&self, number: u64) -> Result<Option<Incident>> {
        let sql = format!("SELECT body FROM incidents WHERE number = {number}");
        Ok(self.bodies("incidents", &sql)?.pop())
    }

    /// The newest messages with their state (`queued`, or how they ended) and what happened, newest first.
    pub fn deliveries(&self, limit: u32) -> Result<Vec<(Delivery, String, String)>> {
        let doing = cannot("be read");
        let sql = "SELECT body, state, detail FROM deliveries ORDER BY id DESC LIMIT ?1";
        let mut statement = self.connection.prepare(sql).map_err(&doing)?;
        let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
        let rows = statement.query_map([limit], row).map_err(&doing)?;
        rows.map(|row| {
            let (body, state, detail): (String, String, String) = row.map_err(&doing)?;
            if state == "queued" {
                let queued: Queued = parse("deliveries", &body)?;
                Ok((queued.delivery, state, queued.last_error))
            } else {
                let settled: Settled = parse("deliveries", &body)?;
                Ok((settled.delivery, state, detail))
            }
        })
        .collect()
    }

    /// Forgets history from before a time: incidents that are over, messages that are settled. The newest message stays.
    pub fn prune(&mut self, before: Timestamp) -> Result<usize> {
        let prune = |c: &mut Connection| -> rusqlite::Result<usize> {
            let tx = c.transaction()?;
            let incidents = tx.execute("DELETE FROM incidents WHERE live = 0 AND opened < ?1", [before.0])?;
            let deliveries = tx.execute("DELETE FROM deliveries WHERE state <> 'queued' AND at < ?1", [before.0])?;
            tx.commit()?;
            Ok(incidents + deliveries)
        };
        prune(&mut self.connection).map_err(cannot("be pruned"))
    }

    /// A value that another part of the daemon keeps here.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        let value = self.connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
        value.optional().map_err(cannot("be read"))
    }

    /// Keeps a value for another part of the daemon. `counters` is the desk's own key.
    pub fn set_meta(&mut self, key: &str, value: &str) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        self.connection.execute(sql, [key, value]).map(drop).map_err(cannot("be written"))
    }

    /// Reads the whole file and checks it.
    pub fn check(&self) -> Result<()> {
        let found: String =
            self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(cannot("be checked"))?;
        if found == "ok" { Ok(()) } else { Err(StoreError::Damaged(found)) }
    }

    fn bodies<T: DeserializeOwned>(&self, table: &'static str, sql: &str) -> Result<Vec<T>> {
        let doing = cannot("be read");
        let mut statement = self.connection.prepare(sql).map_err(&doing)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(&doing)?;
        rows.map(|body| parse(table, &body.map_err(&doing)?)).collect()
    }
}

fn parse<T: DeserializeOwned>(table: &'static str, body: &str) -> Result<T> {
    serde_json::from_str(body).map_err(|source| StoreError::Row { table, source })
}

fn write(tx: &Transaction<'_>, record: &Record) -> Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<()> {
        let done = tx.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map(drop).map_err(cannot("be written"))
    };
    let delivery = "INSERT OR REPLACE INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5)";
    match record {
        Record::Taken(id) => run("INSERT OR REPLACE INTO taken VALUES (?1, ?2)", params![id.shard, json(id)?]),
        Record::Counters(counters) => run("INSERT OR REPLACE INTO meta VALUES ('counters', ?1)", params![json(counters)?]),
        Record::Incident(i) => run(
            "INSERT OR REPLACE INTO incidents VALUES (?1, 1, ?2, ?3, ?4)",
            params![i.number as i64, i.opened.0, i.resolved.as_ref().map(|r| r.at.0), json(i)?],
        ),
        Record::IncidentClosed(number) => run("UPDATE incidents SET live = 0 WHERE number = ?1", params![*number as i64]),
        Record::Group(g) => run("INSERT OR REPLACE INTO groups VALUES (?1, ?2, ?3)", params![g.receiver, g.key, json(g)?]),
        Record::GroupGone(receiver, key) => run("DELETE FROM groups WHERE receiver = ?1 AND key = ?2", params![receiver, key]),
        Record::Delivery(q) => run(delivery, params![q.delivery.id as i64, "queued", q.delivery.created.0, "", json(q)?]),
        Record::Settled(s) => run(delivery, params![s.delivery.id as i64, s.end.as_str(), s.at.0, s.detail, json(s)?]),
        Record::Target(t) => {
            let name = format!("{}/{}/{}", t.target.receiver, t.target.channel, t.target.index);
            run("INSERT OR REPLACE INTO targets VALUES (?1, ?2)", params![name, json(t)?])
        }
        Record::Silence(s) => run("INSERT OR REPLACE INTO silences VALUES (?1, ?2)", params![s.id, json(s)?]),
        Record::SilenceGone(id) => run("DELETE FROM silences WHERE id = ?1", params![id]),
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(StoreError::Encode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::desk::{Counters, Desk, DeskConfig, Input, Output};
    use crate::dispatch::Route;
    use crate::dispatch::route::GroupLabels;
    use crate::model::delivery::Target;
    use crate::model::{Finding, Labels, Severity, State, Transition, TransitionId};
    use crate::outbox::{ReceiverPlan, TargetPlan};

    #[test]
    fn what_was_stored_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spiked.db");
        let id = TransitionId { shard: 1, offset: u64::from(u32::MAX) + 7, number: 2 };
        let records = [Record::Taken(id), Record::Counters(Counters { incident: 5, delivery: 9 })];
        let mut store = Store::open(&path).unwrap();
        store.apply(&records).unwrap();
        store.set_meta("salt", "x").unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        let mut expected = Restored::default();
        for record in &records {
            expected.apply(record);
        }
        assert_eq!(store.restore().unwrap(), expected);
        assert_eq!(store.meta("salt").unwrap().as_deref(), Some("x"));
        store.check().unwrap();
    }

    /// What the desk's own tests restart from is what SQLite gives back.
    #[test]
    fn a_desk_comes_back_from_the_file_as_it_was() {
        let mut desk = Desk::new(config(), Restored::default(), 1);
        let mut store = Store::in_memory().unwrap();
        let mut expected = Restored::default();
        for (secs, state) in [(0, State::Firing), (5, State::Firing), (9, State::Resolved), (3600, State::Firing)] {
            let now = Timestamp::from_secs(secs);
            for output in desk.handle(now, Input::Transition(Box::new(transition(now, state)))) {
                if let Output::Save(records) = output {
                    store.apply(&records).unwrap();
                    for record in &records {
                        expected.apply(record);
                    }
                    assert_eq!(store.restore().unwrap(), expected);
                }
            }
        }
        assert_eq!(store.incidents(10).unwrap().len(), 2, "history keeps what the desk has forgotten");
        assert_eq!(store.incident(1).unwrap().unwrap().name(), "SPK-1");
        let states: Vec<String> = store.deliveries(10).unwrap().into_iter().map(|(_, state, _)| state).collect();
        assert_eq!(states, ["queued", "queued", "folded"]);
        assert_eq!(store.prune(Timestamp::from_secs(60)).unwrap(), 1);
    }

    fn config() -> DeskConfig {
        let route = Route {
            path: "{}".into(),
            matchers: vec![],
            receiver: "web".into(),
            group_by: GroupLabels::All,
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            repeat_interval: Duration::from_secs(60),
            go_on: false,
            mute_time_intervals: vec![],
            active_time_intervals: vec![],
            routes: vec![],
        };
        let target = Target { receiver: "web".into(), channel: "slack".into(), index: 0 };
        let targets = vec![TargetPlan { target, send_resolved: true }];
        let receivers = vec![ReceiverPlan { name: "web".into(), fallback: String::new(), targets }];
        DeskConfig { route, receivers, inhibit_rules: vec![], time_intervals: vec![], external_url: String::new() }
    }

    fn transition(at: Timestamp, state: State) -> Transition {
        let ratio = Some(f64::INFINITY);
        let evidence = Some((1.0, f64::INFINITY));
        Transition {
            id: TransitionId { shard: 0, offset: at.0 as u64 + 1, number: 0 },
            at,
            alert: "A".into(),
            state,
            group: Labels::new().with("site", "shop"),
            slice: Labels::new(),
            labels: Labels::new().with("site", "shop"),
            annotations: Labels::new(),
            severity: Severity::P1,
            owner: String::new(),
            began: at,
            finding: Finding { ratio, evidence, ..Finding::default() },
            reason: String::new(),
            condition: "spike".into(),
        }
    }

    #[test]
    fn a_file_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spiked.db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().starts_with("the database has version 99, this program knows up to 1"), "{error}");
    }
}
