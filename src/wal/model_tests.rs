//! Any sequence of appends, syncs, checkpoints, full disks and power failures on a disk that forgets what it may, held against a
//! model: what was acknowledged is there, once, in order, from the newest checkpoint on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::memory_disk::MemoryDisk;
use super::replay::Damage;
use super::{Entry, Replay, Wal, WalOptions, checkpoint, segment};
use crate::model::{Batch, Timestamp};

const LOG: &str = "/data/wal";
const STATES: &str = "/data/checkpoints";
const FORMAT: u32 = 1;

#[derive(Clone, Debug)]
enum Act {
    /// So many entries, of so many bytes about, in one group.
    Commit(u8, u8),
    /// A state up to here, and the log before the oldest kept state goes.
    Checkpoint,
    /// The disk is full after so many calls.
    Fill(u32),
    /// There is room again.
    Empty,
    /// The power fails, maybe in the middle of a group or of a checkpoint; the numbers decide what is left.
    Crash { group: u8, checkpoint: bool, luck: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (1..5u8, 0..200u8).prop_map(|(entries, bytes)| Act::Commit(entries, bytes)),
        2 => Just(Act::Checkpoint),
        1 => (0..6u32).prop_map(Act::Fill),
        2 => Just(Act::Empty),
        3 => (0..5u8, any::<bool>(), any::<u64>()).prop_map(|(group, checkpoint, luck)| Act::Crash { group, checkpoint, luck }),
    ];
    prop::collection::vec(act, 1..40)
}

fn entry(number: u64, bytes: u8) -> Entry {
    if bytes < 20 {
        return Entry::Tick(Timestamp(number as i64));
    }
    let mut batch = Batch::new();
    batch.add_text(&format!("{number} {}", "x".repeat(bytes.into())));
    Entry::Batch { source: "native".into(), batch, positions: Vec::new() }
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    postcard::to_stdvec(entry).unwrap()
}

/// The log under test and what is known about it.
struct World {
    disk: MemoryDisk,
    wal: Wal,
    /// What was acknowledged, or is known to have outlived a crash, by offset.
    kept: BTreeMap<u64, Vec<u8>>,
    /// All that was ever appended, by offset: what a crash leaves beyond `kept` must be of these.
    tried: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    /// The newest state that was written for certain, and those that may be there.
    state: u64,
    states: BTreeSet<u64>,
    number: u64,
}

impl World {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let (wal, _) = Wal::open_on(Arc::new(disk.clone()), Path::new(LOG), options(), 0).unwrap();
        let (kept, tried, states) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { disk, wal, kept, tried, state: 0, states, number: 0 }
    }

    fn append(&mut self, entries: u8, bytes: u8) -> Vec<(u64, Vec<u8>)> {
        let mut group = Vec::new();
        for _ in 0..entries {
            self.number += 1;
            let entry = entry(self.number, bytes.wrapping_mul(self.number as u8));
            let offset = self.wal.append(&entry).unwrap();
            self.tried.entry(offset).or_default().insert(bytes_of(&entry));
            group.push((offset, bytes_of(&entry)));
        }
        group
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Commit(entries, bytes) => {
                let _still_full = self.wal.recover();
                let group = self.append(entries, bytes);
                if self.wal.sync().is_ok() {
                    self.kept.extend(group);
                }
            }
            Act::Checkpoint => {
                let offset = self.wal.next_offset();
                self.states.insert(offset);
                if checkpoint::write_on(&self.disk, Path::new(STATES), offset, FORMAT, &offset.to_le_bytes()).is_ok() {
                    self.state = offset;
                    let oldest = checkpoint::oldest_offset_on(&self.disk, Path::new(STATES)).unwrap();
                    let _told = self.wal.delete_before(oldest);
                }
            }
            Act::Fill(calls) => self.disk.fail_after(Some(calls)),
            Act::Empty => self.disk.fail_after(None),
            Act::Crash { group, checkpoint, luck } => self.crash(group, checkpoint, luck),
        }
    }

    fn crash(&mut self, group: u8, checkpoint: bool, luck: u64) {
        if !self.wal.is_failed() && group > 0 {
            self.append(group, 100);
            // Written, and cut off before the sync was answered.
            self.disk.fail_after(Some(1));
            let _cut_off = self.wal.sync();
        }
        if checkpoint {
            let offset = self.wal.next_offset();
            self.states.insert(offset);
            self.disk.fail_after(Some(luck as u32 % 5));
            let _cut_off = checkpoint::write_on(&self.disk, Path::new(STATES), offset, FORMAT, &offset.to_le_bytes());
        }
        let mut chance = luck;
        self.disk.crash(|below| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) as usize % below.max(1)
        });
        self.reopen();
    }

    /// The start after a crash: the newest state, then the log from there on.
    fn reopen(&mut self) {
        let found = checkpoint::load_on(&self.disk, Path::new(STATES), FORMAT).unwrap();
        let from = found.map_or(0, |found| {
            assert_eq!(found.state(), found.offset.to_le_bytes());
            assert_eq!(found.damaged, Vec::<std::path::PathBuf>::new());
            assert!(self.states.contains(&found.offset));
            found.offset
        });
        assert!(from >= self.state, "state {from} is older than {}, which was written", self.state);
        let (wal, opened) = Wal::open_on(Arc::new(self.disk.clone()), Path::new(LOG), options(), from).unwrap();
        let (entries, damages) = self.replay(from);
        let unknown = |(offset, bytes): &(u64, Vec<u8>)| !self.tried.get(offset).is_some_and(|tried| tried.contains(bytes));
        assert_eq!(entries.iter().find(|entry| unknown(entry)), None, "nobody wrote this");
        let found: BTreeMap<u64, Vec<u8>> = entries.iter().cloned().collect();
        assert_eq!(found.len(), entries.len(), "an offset came twice");
        for (offset, bytes) in self.kept.range(from..) {
            assert_eq!(found.get(offset), Some(bytes), "entry {offset} was acknowledged; {damages:?}");
        }
        let last = self.kept.last_key_value().map_or(0, |(last, _)| last + 1);
        assert!(opened.next_offset >= last.max(from), "offsets are given once");
        for damage in damages.iter().chain(&opened.damages) {
            assert!(damage.lost < 8, "only what was not synced may be missing: {damage:?}");
        }
        self.kept.extend(found);
        self.state = self.state.max(from);
        self.wal = wal;
    }

    fn replay(&self, from: u64) -> (Vec<(u64, Vec<u8>)>, Vec<Damage>) {
        let mut replay = Replay::open(Arc::new(self.disk.clone()), Path::new(LOG), from).unwrap();
        let entries = replay.by_ref().map(Result::unwrap).map(|(offset, entry)| (offset, bytes_of(&entry))).collect();
        (entries, replay.damages().to_vec())
    }
}

fn options() -> WalOptions {
    WalOptions { segment_bytes: 300 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_was_acknowledged_outlives_any_crash(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.crash(0, false, 1);
        // And the log goes on.
        let group = world.append(2, 50);
        world.wal.sync().unwrap();
        world.kept.extend(group);
        world.reopen();
    }

    #[test]
    fn damage_in_the_middle_costs_its_record_alone_and_is_said(
        commits in prop::collection::vec((1..5u8, 20..200u8), 2..20),
        place in any::<prop::sample::Index>(),
        within in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut world = World::new();
        for (entries, bytes) in commits {
            world.act(&Act::Commit(entries, bytes));
        }
        let segments = segment::list(&world.disk, Path::new(LOG)).unwrap();
        let (_, path) = &segments[place.index(segments.len())];
        world.disk.damage(path, within.index(world.disk.length(path)), flip);
        let (wal, _) = Wal::open_on(Arc::new(world.disk.clone()), Path::new(LOG), options(), 0).unwrap();
        let (entries, damages) = world.replay(0);
        let found: BTreeMap<u64, Vec<u8>> = entries.into_iter().collect();
        let missing: Vec<u64> = world.kept.keys().filter(|offset| !found.contains_key(offset)).copied().collect();
        prop_assert!(found.iter().all(|(offset, bytes)| world.kept.get(offset) == Some(bytes)));
        prop_assert!(missing.len() <= 1, "{missing:?} are missing after one flipped byte");
        let last = world.kept.len() as u64;
        prop_assert!(wal.next_offset() + 1 >= last);
        let lost: u64 = damages.iter().map(|damage| damage.lost).sum();
        // At the very end nothing follows that could tell a damaged record from a torn one.
        let told = lost == missing.len() as u64 || missing == [last - 1];
        prop_assert!(told, "{missing:?} missing, but {damages:?}");
    }
}
