//! The real file system and environment, for the check of configuration and rules.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Reader;
use crate::rule::matcher::glob_matches;

/// Reads what the process may read.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFiles;

impl Reader for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    /// `*` may stand in the last part of the path alone; hidden files are left out. A path without `*` is itself.
    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let path = Path::new(pattern);
        if !pattern.contains('*') {
            return Ok(path.exists().then(|| path.to_path_buf()).into_iter().collect());
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.to_string_lossy().contains('*') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "`*` may stand in the last part of the path alone"));
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if !file.starts_with('.') && glob_matches(&name, &file) && !entry.path().is_dir() {
                found.push(folder.join(file));
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_names_files_in_order_and_leaves_out_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", ".c.yaml", "d.json"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = DiskFiles.glob(&format!("{}/*.yaml", folder.path().display())).unwrap();
        assert_eq!(found, [folder.path().join("a.yaml"), folder.path().join("b.yaml")]);
        assert!(DiskFiles.glob("/nowhere/at/all/*.yaml").unwrap().is_empty());
    }
}
