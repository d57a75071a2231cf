//! What was in force, by the hash that the log names it by: a replay judges by the rules of then, not of now.
//!
//! ```text
//! "SPIKDRUL"  version u32  WatchConfig (postcard)          the file's name is the xxh3 of all of it
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::watch::WatchConfig;

const MAGIC: &[u8; 8] = b"SPIKDRUL";
/// What a later version writes otherwise is passed over: the replay then judges by the rules of now.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 12;
/// Files kept, the newest. A checkpoint follows each change, so that a replay needs few of them.
const KEPT: usize = 64;

/// The folder.
#[derive(Clone, Debug)]
pub struct Archive(PathBuf);

impl Archive {
    /// Over a folder that need not be there yet.
    pub fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The name of what is in force from now on; it is durable when this returns.
    pub fn keep(&self, config: &WatchConfig) -> io::Result<u64> {
        let head = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let bytes = postcard::to_extend(config, head).map_err(io::Error::other)?;
        let hash = xxh3_64(&bytes);
        let path = self.path(hash);
        if fs::read(&path).is_ok_and(|found| found == bytes) {
            return Ok(hash);
        }
        fs::create_dir_all(&self.0)?;
        let aside = path.with_extension("tmp");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).inspect_err(|_| drop(fs::remove_file(&aside)))?;
        fs::rename(&aside, &path)?;
        fs::File::open(&self.0)?.sync_all()?;
        // Old ones only take room; where they cannot be removed, they go another time.
        let _next_time = self.prune(&path);
        Ok(hash)
    }

    /// What was in force under this name; `None` where it cannot be read.
    pub fn find(&self, hash: u64) -> Option<Arc<WatchConfig>> {
        let bytes = fs::read(self.path(hash)).ok().filter(|bytes| xxh3_64(bytes) == hash)?;
        let (head, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let is_ours = head[..8] == *MAGIC && head[8..] == VERSION.to_le_bytes();
        is_ours.then(|| postcard::from_bytes(body).ok().map(Arc::new)).flatten()
    }

    fn path(&self, hash: u64) -> PathBuf {
        self.0.join(format!("{hash:016x}.rules"))
    }

    fn prune(&self, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for item in fs::read_dir(&self.0)? {
            let item = item?;
            files.push((item.metadata()?.modified()?, item.path()));
        }
        files.retain(|(_, path)| path != newest);
        files.sort();
        for (_, path) in files.iter().rev().skip(KEPT - 1) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Nothing, load_rules};

    fn config(lateness: u64) -> WatchConfig {
        let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/rules")).unwrap().map(|item| item.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
        let files: Vec<_> = files.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect();
        let (rules, _) = load_rules(&Nothing, &files);
        assert!(rules.len() > 5);
        let site = crate::watch::SitePlan { time_zone: chrono_tz::Europe::Berlin, ..Default::default() };
        let lateness = std::time::Duration::from_secs(lateness);
        WatchConfig { rules, sites: [("shop".to_owned(), site)].into(), lateness, ..WatchConfig::default() }
    }

    #[test]
    fn what_was_in_force_comes_back_by_its_name_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path().join("rules"));
        let hash = archive.keep(&config(300)).unwrap();
        assert_eq!(archive.keep(&config(300)).unwrap(), hash);
        assert_ne!(archive.keep(&config(301)).unwrap(), hash);
        let found = archive.find(hash).unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", config(300)));
        let path = archive.path(hash);
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(archive.find(hash).is_none() && archive.find(7).is_none());
        for lateness in 0..2 * KEPT as u64 {
            archive.keep(&config(1000 + lateness)).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path().join("rules")).unwrap().count(), KEPT);
    }
}
