//! The data folder: its layout, and the salts that sessions are hashed with.
//!
//! `LOCK`, `salts` (mode 0600), `wal/`, `checkpoints/`, `rules/`, `spiked.db`, `rules.last-good.json`. A salt lives for a day; the one of the day before is kept so
//! that what was hashed around midnight still agrees, and is then overwritten.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::ingest::Salts;
use crate::model::Timestamp;

/// Where things are.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Makes the folder if it is not there, readable by its owner alone.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // Also where it was made by somebody else: incidents and messages are nobody else's to read.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        Ok(Self(path.to_owned()))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The log's folder.
    pub fn wal(&self) -> PathBuf {
        self.0.join("wal")
    }

    /// The checkpoints' folder.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// The folder of what was in force.
    pub fn rules(&self) -> PathBuf {
        self.0.join("rules")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.0.join("spiked.db")
    }

    /// The rule files as they last were good.
    pub fn last_good(&self) -> PathBuf {
        self.0.join("rules.last-good.json")
    }

    /// Replaces [`last_good`](Self::last_good) at once.
    pub fn write_last_good(&self, text: &[u8]) -> io::Result<()> {
        let aside = self.last_good().with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(aside, self.last_good())
    }

    /// The salts in force at `now`: yesterday's and today's, made where they are missing; older ones are overwritten.
    pub fn salts(&self, now: Timestamp) -> io::Result<Salts> {
        let today = now.secs().div_euclid(86_400);
        let path = self.0.join("salts");
        let kept: Vec<(i64, [u8; 32])> = match fs::read_to_string(&path) {
            Ok(text) => text.lines().filter_map(parse_line).filter(|(day, _)| *day == today || *day == today - 1).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let of = |day: i64| kept.iter().find(|(of, _)| *of == day).map(|(_, salt)| *salt);
        let salt = if let Some(salt) = of(today) {
            salt
        } else {
            let mut salt = [0; 32];
            getrandom::fill(&mut salt).map_err(|e| io::Error::other(e.to_string()))?;
            write_lines(&path, of(today - 1).map(|old| (today - 1, old)).into_iter().chain([(today, salt)]))?;
            salt
        };
        Ok(Salts::daily(now, &salt, of(today - 1).as_ref()))
    }
}

fn parse_line(line: &str) -> Option<(i64, [u8; 32])> {
    let (day, hex) = line.split_once(' ')?;
    let mut salt = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in salt.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some((day.parse().ok()?, salt))
}

fn write_lines(path: &Path, lines: impl Iterator<Item = (i64, [u8; 32])>) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    for (day, salt) in lines {
        write!(file, "{day} ")?;
        for byte in salt {
            write!(file, "{byte:02x}")?;
        }
        writeln!(file)?;
    }
    file.sync_all()?;
    fs::rename(aside, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_are_kept_for_two_days_and_then_gone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(&folder.path().join("data")).unwrap();
        let day = |n: i64| Timestamp::from_secs(n * 86_400 + 7);
        let first = dir.salts(day(100)).unwrap().hash_session(day(100), 1, "s");
        assert_eq!(dir.salts(day(100)).unwrap().hash_session(day(100), 1, "s"), first);
        assert_eq!(dir.salts(day(101)).unwrap().hash_session(day(100), 1, "s"), first);
        dir.salts(day(102)).unwrap();
        let text = fs::read_to_string(dir.path().join("salts")).unwrap();
        assert!(!text.contains("100 "), "{text}");
        let mode = fs::metadata(dir.path().join("salts")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
