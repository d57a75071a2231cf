//! The groups of a cut. Most pages of a large site are quiet most of the time: what is known of them is packed until something
//! comes again. Packing changes no answer, so when it is done is a matter of memory and speed alone.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::{Deref, Index, IndexMut};

use serde::de::{self, Deserializer, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use super::group::Group;
use super::packed::{pack, unpack};

/// A group to which something came again within so many seconds is a busy one …
const BUSY_SECS: i64 = 10;
/// … and is packed when nothing came for so long. Any other is packed at the end of its second.
const REST_SECS: i64 = 60;
/// A group of so many packed bytes is worth the work only …
const LARGE_BYTES: usize = 1024;
/// … when nothing came for so long.
const LARGE_REST_SECS: i64 = 900;
/// A group that cannot be packed is looked at again after so long.
const AGAIN_SECS: i64 = 60;

/// Lists of rules that are told apart.
const RULE_LISTS: usize = 1 << 12;

/// The groups of a cut, by their numbers.
#[derive(Default)]
pub(crate) struct Groups {
    slots: Vec<Slot>,
    /// Which groups may be packed from a second on, if nothing comes for so many seconds.
    due: BTreeMap<i64, Vec<(u32, i64)>>,
    /// The second at hand.
    now: i64,
    /// The different lists of rules of packed groups: there are few.
    rule_lists: Vec<Vec<usize>>,
    room: Vec<u8>,
}

enum Slot {
    Awake(Box<Group>),
    Packed(Packed),
}

struct Packed {
    head: Head,
    bytes: Box<[u8]>,
    /// A fallback: whoever reads a group by its number has woken it.
    opened: OnceCell<Box<Group>>,
}

/// What is asked of all groups at once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// [`Group::site`]
    pub(crate) site: u32,
    /// [`Group::seen`] in whole seconds.
    pub(crate) seen: i64,
    /// [`Group::view_seen`] in whole seconds.
    pub(crate) view_seen: i64,
    /// Whether a `drop` rule expects anything of it.
    pub(crate) expects: bool,
    /// Whether it has events that are not in its slices yet.
    pub(crate) noted: bool,
    /// Which of [`Groups::rule_lists`], if any.
    rules: Option<u16>,
}

impl Head {
    fn of(group: &Group, rules: Option<u16>) -> Self {
        let expects = group.rules.iter().filter_map(|state| state.drop.as_ref()).any(|drop| drop.expects());
        let (seen, view_seen) = (group.seen.secs(), group.view_seen.secs());
        Self { site: group.site, seen, view_seen, expects, noted: group.has_noted(), rules }
    }
}

/// A group that is only looked at.
pub(crate) enum Looked<'a> {
    Awake(&'a Group),
    Unpacked(Box<Group>),
}

impl Deref for Looked<'_> {
    type Target = Group;
    fn deref(&self) -> &Group {
        match self {
            Self::Awake(group) => group,
            Self::Unpacked(group) => group,
        }
    }
}

fn group_of(bytes: &[u8], room: &mut Vec<u8>) -> Box<Group> {
    // Checkpoints are checked by sum and format before a group of theirs comes here.
    unpack(bytes, room).expect("what was packed can be unpacked")
}

impl Groups {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds a group; its number is how many there were.
    pub(crate) fn push(&mut self, group: Group) {
        let index = self.slots.len() as u32;
        self.slots.push(Slot::Awake(Box::new(group)));
        self.due.entry(self.now + 1).or_default().push((index, 0));
    }

    /// What is known of every group without unpacking it, in the order of their numbers.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (usize, Head)> {
        self.slots.iter().enumerate().map(|(index, slot)| match slot {
            Slot::Awake(group) => (index, Head::of(group, None)),
            Slot::Packed(packed) => (index, packed.head),
        })
    }

    /// A look at a group.
    pub(crate) fn look(&self, index: usize) -> Looked<'_> {
        match &self.slots[index] {
            Slot::Awake(group) => Looked::Awake(group),
            Slot::Packed(packed) => Looked::Unpacked(group_of(&packed.bytes, &mut Vec::new())),
        }
    }

    /// All groups that are not packed, with their numbers. A packed one neither fires, nor is it touched or a suspect.
    pub(crate) fn awake(&self) -> impl Iterator<Item = (usize, &Group)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Awake(group) => Some((index, &**group)),
            Slot::Packed(_) => None,
        })
    }

    /// As [`awake`](Self::awake), to be changed.
    pub(crate) fn awake_mut(&mut self) -> impl Iterator<Item = (usize, &mut Group)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Awake(group) => Some((index, &mut **group)),
            Slot::Packed(_) => None,
        })
    }

    /// Changes every group, rules and all.
    pub(crate) fn for_each_mut(&mut self, change: impl FnMut(usize, &mut Group)) {
        self.rule_lists.clear();
        self.for_some_mut(|_| true, change);
    }

    /// Changes groups that are awake, and those packed ones whose head is like this; their rules stay.
    pub(crate) fn for_some_mut(&mut self, which: impl Fn(&Head) -> bool, mut change: impl FnMut(usize, &mut Group)) {
        for index in 0..self.slots.len() {
            match &mut self.slots[index] {
                Slot::Awake(group) => change(index, group),
                Slot::Packed(packed) if !which(&packed.head) => {}
                Slot::Packed(packed) => {
                    let mut group = group_of(&packed.bytes, &mut self.room);
                    change(index, &mut group);
                    self.slots[index] = Self::packed(&group, &mut self.rule_lists, &mut self.room);
                }
            }
        }
    }

    /// The rules of a group, as indices into the plan's.
    pub(crate) fn for_rules(&self, index: usize, head: Head, each: impl FnMut(usize)) {
        match head.rules.and_then(|list| self.rule_lists.get(usize::from(list))) {
            Some(rules) => rules.iter().copied().for_each(each),
            None => self.look(index).rules.iter().map(|state| state.rule).for_each(each),
        }
    }

    /// Unpacks a group until it is quiet again.
    fn wake(&mut self, index: usize) {
        if let Slot::Packed(packed) = &mut self.slots[index] {
            let group = packed.opened.take().unwrap_or_else(|| group_of(&packed.bytes, &mut self.room));
            let busy = self.now - packed.head.seen < BUSY_SECS;
            let patience = match packed.bytes.len() {
                LARGE_BYTES.. => LARGE_REST_SECS,
                _ if busy => REST_SECS,
                _ => 0,
            };
            self.slots[index] = Slot::Awake(group);
            self.due.entry(self.now + 1).or_default().push((index as u32, patience));
        }
    }

    /// Packs what has been quiet for long enough.
    pub(crate) fn rest(&mut self, now: i64) {
        self.now = now;
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= now) {
            for (index, patience) in entry.remove() {
                self.rest_one(index, patience);
            }
        }
    }

    fn rest_one(&mut self, index: u32, patience: i64) {
        let Slot::Awake(group) = &self.slots[index as usize] else { return };
        let quiet = group.seen.secs() + patience;
        // What is about to be judged again is not worth packing.
        let soon = group.rules.iter().filter_map(|state| state.wake).any(|wake| wake.secs() <= self.now + AGAIN_SECS);
        let busy = soon || !group.is_at_rest();
        if busy || quiet > self.now {
            let again = quiet.max(self.now + if busy { AGAIN_SECS } else { 1 });
            self.due.entry(again).or_default().push((index, patience));
            return;
        }
        self.slots[index as usize] = Self::packed(group, &mut self.rule_lists, &mut self.room);
    }

    fn packed(group: &Group, lists: &mut Vec<Vec<usize>>, room: &mut Vec<u8>) -> Slot {
        let is_same = |list: &Vec<usize>| list.iter().copied().eq(group.rules.iter().map(|state| state.rule));
        let list = lists.iter().position(is_same).or_else(|| {
            (lists.len() < RULE_LISTS).then(|| lists.push(group.rules.iter().map(|state| state.rule).collect()))?;
            Some(lists.len() - 1)
        });
        let head = Head::of(group, list.map(|list| list as u16));
        Slot::Packed(Packed { head, bytes: pack(group, room), opened: OnceCell::new() })
    }
}

impl Index<usize> for Groups {
    type Output = Group;

    fn index(&self, index: usize) -> &Group {
        match &self.slots[index] {
            Slot::Awake(group) => group,
            Slot::Packed(packed) => packed.opened.get_or_init(|| group_of(&packed.bytes, &mut Vec::new())),
        }
    }
}

impl IndexMut<usize> for Groups {
    /// Wakes the group, if it is packed.
    fn index_mut(&mut self, index: usize) -> &mut Group {
        self.wake(index);
        match &mut self.slots[index] {
            Slot::Awake(group) => group,
            Slot::Packed(_) => unreachable!("it was woken just now"),
        }
    }
}

/// As they are written down: all packed, and which of them are awake again at once.
#[derive(Serialize)]
struct Written<'a> {
    rule_lists: &'a [Vec<usize>],
    slots: WrittenSlots<'a>,
}

struct WrittenSlots<'a>(&'a [Slot]);

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

impl Serialize for WrittenSlots<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut seq = to.serialize_seq(Some(self.0.len()))?;
        let mut room = Vec::new();
        for slot in self.0 {
            match slot {
                Slot::Awake(group) => {
                    seq.serialize_element(&(Head::of(group, None), !group.is_at_rest(), Bytes(&pack(group, &mut room))))?;
                }
                Slot::Packed(packed) => seq.serialize_element(&(packed.head, false, Bytes(&packed.bytes)))?,
            }
        }
        seq.end()
    }
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Written { rule_lists: &self.rule_lists, slots: WrittenSlots(&self.slots) }.serialize(to)
    }
}

struct Boxed(Box<[u8]>);

impl<'de> Deserialize<'de> for Boxed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Taken;
        impl Visitor<'_> for Taken {
            type Value = Boxed;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Boxed, E> {
                Ok(Boxed(bytes.into()))
            }
        }
        from.deserialize_bytes(Taken)
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Read {
            rule_lists: Vec<Vec<usize>>,
            slots: Vec<(Head, bool, Boxed)>,
        }
        let Read { rule_lists, slots } = Read::deserialize(from)?;
        let mut groups = Self { slots: Vec::with_capacity(slots.len()), rule_lists, ..Self::default() };
        for (index, (head, busy, Boxed(bytes))) in slots.into_iter().enumerate() {
            // One is tried in any case, so that groups of another form are found out here.
            let tried = (busy || index == 0).then(|| unpack::<Box<Group>>(&bytes, &mut groups.room));
            if tried.is_some_and(|group| group.is_none()) {
                return Err(de::Error::custom("the groups are of another form"));
            }
            groups.slots.push(Slot::Packed(Packed { head, bytes, opened: OnceCell::new() }));
            if busy {
                groups.wake(index);
            }
        }
        Ok(groups)
    }
}
