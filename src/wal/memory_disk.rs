//! A disk for tests: in memory, and as forgetful as a real one may be. A crash keeps what was synced; of the rest it keeps any
//! pages, at any length, and any of the names. It can be made to fail.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

/// Small, so that few bytes are torn in many ways.
const PAGE: usize = 32;

/// A file's bytes as programs read them, and as they are certain to be after a crash.
#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// What was done to names since their folder was synced, in order.
    renames: Vec<(PathBuf, Option<usize>)>,
    /// Calls that go well before the next ones fail; `None`: all go well.
    good: Option<u32>,
    /// Counts crashes: an open file of an earlier life is dead.
    life: u32,
}

impl State {
    fn may(&mut self) -> io::Result<()> {
        match &mut self.good {
            None => Ok(()),
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn name(&mut self, path: &Path, file: Option<usize>) {
        match file {
            Some(file) => drop(self.names.insert(path.to_owned(), file)),
            None => drop(self.names.remove(path)),
        }
        self.renames.push((path.to_owned(), file));
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power fails. `choose(n)` is any number beneath `n`.
    pub(super) fn crash(&self, mut choose: impl FnMut(usize) -> usize) {
        let mut state = self.state();
        state.life += 1;
        state.good = None;
        let mut names = state.synced_names.clone();
        for (path, file) in std::mem::take(&mut state.renames) {
            if choose(2) == 0 {
                continue;
            }
            match file {
                Some(file) => drop(names.insert(path, file)),
                None => drop(names.remove(&path)),
            }
        }
        for file in &mut state.files {
            let (short, long) = (file.live.len().min(file.synced.len()), file.live.len().max(file.synced.len()));
            let length = short + choose(long - short + 1);
            let mut left = vec![0; length];
            for (page, bytes) in left.chunks_mut(PAGE).enumerate() {
                let at = page * PAGE;
                // What is synced and was not changed since is safe: both are alike there.
                let from = if choose(2) == 0 { &file.live } else { &file.synced };
                let had = from.get(at..).unwrap_or(&[]);
                let count = had.len().min(bytes.len());
                bytes[..count].copy_from_slice(&had[..count]);
            }
            *file = Content { live: left.clone(), synced: left };
        }
        state.synced_names = names.clone();
        state.names = names;
    }

    /// After so many more calls that change anything, all fail; `None`: none does any more.
    pub(super) fn fail_after(&self, calls: Option<u32>) {
        self.state().good = calls;
    }

    /// Flips bits of a byte that is on the disk for good.
    pub(super) fn damage(&self, path: &Path, at: usize, flip: u8) {
        let mut state = self.state();
        let file = state.names[path];
        let content = &mut state.files[file];
        content.live[at] ^= flip;
        content.synced = content.live.clone();
    }

    /// Bytes of a file.
    pub(super) fn length(&self, path: &Path) -> usize {
        let state = self.state();
        state.files[state.names[path]].live.len()
    }

    fn open(&self, file: usize, life: u32) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { disk: self.clone(), file, life })
    }
}

impl Disk for MemoryDisk {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state().names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.files[*file].live.clone())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.may()?;
        let life = state.life;
        let file = match state.names.get(path) {
            // The same file, empty: its old bytes may come back until it is synced.
            Some(file) => *file,
            None => state.files.len(),
        };
        if file == state.files.len() {
            state.files.push(Content::default());
            state.name(path, Some(file));
        }
        state.files[file].live.clear();
        drop(state);
        Ok(self.open(file, life))
    }

    fn reopen(&self, path: &Path, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.may()?;
        let life = state.life;
        let file = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let content = &mut state.files[file];
        content.live.truncate(length as usize);
        content.synced = content.live.clone();
        drop(state);
        Ok(self.open(file, life))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.may()?;
        let file = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name(to, Some(file));
        state.name(from, None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // Removing goes well on a full disk, too.
        state.name(path, None);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.may()?;
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.renames).into_iter().partition(|(path, _)| path.parent() == Some(dir));
        for (path, file) in here {
            match file {
                Some(file) => drop(state.synced_names.insert(path, file)),
                None => drop(state.synced_names.remove(&path)),
            }
        }
        state.renames = elsewhere;
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
    life: u32,
}

impl MemoryFile {
    fn change(&self, change: impl FnOnce(&mut Content)) {
        let mut state = self.disk.state();
        assert_eq!(state.life, self.life, "a file of an earlier life is used");
        change(&mut state.files[self.file]);
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let may = self.disk.state().may();
        // A full disk takes a part.
        let taken = if may.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.change(|content| content.live.extend_from_slice(taken));
        may
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().may()?;
        self.change(|content| content.synced = content.live.clone());
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.disk.state().may()?;
        self.change(|content| content.live.truncate(length as usize));
        Ok(())
    }
}
