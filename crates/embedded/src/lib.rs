//! The files of an embedded database: made for their owner alone, and watched. A file that is deleted or replaced while it is open goes
//! on being written, and all of that is gone with the process: whoever holds one looks whether it is still where it was before
//! anything is acknowledged.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Makes a file for its owner alone, unless it is there; SQLite gives the files beside it the same rights. What goes wrong here, SQLite
/// reports better.
pub fn create_private(path: &Path) {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _ = options.open(path);
}

/// A database's file and its write-ahead log, as they are when this is made: right after they were opened.
#[derive(Debug)]
pub struct Held {
    files: [(PathBuf, Option<Identity>); 2],
}

/// Device and inode: what a file is, whatever its name.
type Identity = (u64, u64);

impl Held {
    /// The files of the database at a path.
    pub fn of(path: &Path) -> Held {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let known = |path: PathBuf| {
            let identity = identity(&path).unwrap_or_default();
            (path, identity)
        };
        Held {
            files: [known(path.to_owned()), known(log.into())],
        }
    }

    /// A file that is not where it was any more, or another that has its place. Two calls of `stat`.
    pub fn displaced(&self) -> Option<&Path> {
        let mut files = self.files.iter();
        // One that was not there at the beginning cannot be known again, and of one that cannot be looked at nothing is known.
        let displaced = files.find(|(path, known)| known.is_some() && identity(path).is_ok_and(|now| now != *known));
        displaced.map(|(path, _)| path.as_path())
    }
}

/// `None` if there is no such file. Where files have no identity, none is there.
fn identity(path: &Path) -> std::io::Result<Option<Identity>> {
    match path.metadata() {
        #[cfg(unix)]
        Ok(data) => {
            use std::os::unix::fs::MetadataExt;
            Ok(Some((data.dev(), data.ino())))
        }
        #[cfg(not(unix))]
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{remove_file, rename, write};

    #[test]
    fn what_became_of_the_files_is_noticed() {
        let dir = std::env::temp_dir().join(format!("mainstay-held-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let (path, log, aside) = (dir.join("x.db"), dir.join("x.db-wal"), dir.join("aside"));
        create_private(&path);
        write(&log, "log").unwrap();
        let held = Held::of(&path);
        assert_eq!(held.displaced(), None);
        for file in [&path, &log] {
            rename(file, &aside).unwrap();
            assert_eq!(held.displaced(), Some(file.as_path()));
            write(file, "another").unwrap();
            assert_eq!(held.displaced(), Some(file.as_path()));
            rename(&aside, file).unwrap();
            assert_eq!(held.displaced(), None);
        }
        remove_file(&log).unwrap();
        assert_eq!(held.displaced(), Some(log.as_path()));
        assert_eq!(Held::of(&path).displaced(), None);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(held.displaced(), Some(path.as_path()));
    }
}
