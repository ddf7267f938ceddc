//! The archive itself: a gzipped tar, so that it can be opened without this program, whose last entry is the manifest. Gzip's own
//! checksum and the digests of the manifest find what was altered; a missing manifest or gzip trailer, what was cut short.

use crate::manifest::{FORMAT, Manifest};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// The manifest's entry.
const MANIFEST: &str = "manifest.json";
/// The largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// An archive that was read and found whole.
#[derive(Debug)]
pub struct Contents {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its parts' files, in the manifest's order.
    pub files: Vec<PathBuf>,
}

/// Writes an archive to `target`, which must not exist: `parts` in order, each with its file, then the manifest, completed with
/// the files' lengths and digests. Durable when it returns. Gives the manifest as written.
pub fn write(target: &Path, mut manifest: Manifest, files: &[PathBuf]) -> io::Result<Manifest> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(target)?;
    // Level 3: a third of the time of the usual 6 for a few percent more bytes.
    let gzip = GzEncoder::new(BufWriter::with_capacity(1 << 20, file), Compression::new(3));
    let mut tar = tar::Builder::new(gzip);
    for (part, path) in manifest.parts.iter_mut().zip(files) {
        let file = File::open(path)?;
        part.bytes = file.metadata()?.len();
        let mut digest = Digesting::new(BufReader::with_capacity(1 << 20, file));
        tar.append_data(&mut header(part.bytes), &part.file, &mut digest)?;
        part.sha256 = digest.hex();
    }
    let text = serde_json::to_vec_pretty(&manifest)?;
    tar.append_data(&mut header(text.len() as u64), MANIFEST, &*text)?;
    let mut buffer = tar.into_inner()?.finish()?;
    buffer.flush()?;
    buffer.into_inner().map_err(|e| e.into_error())?.sync_all()?;
    Ok(manifest)
}

fn header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header
}

/// Reads the archive at `source`, its parts into files of `folder`. Errors say what is wrong with it: cut short, altered, written
/// by a newer version, no archive at all.
pub fn read(source: &Path, folder: &Path) -> Result<Contents, String> {
    let shown = source.display();
    let file = File::open(source).map_err(|e| format!("{shown}: {e}"))?;
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("{shown}: the archive was cut short; nothing was restored"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
            format!("{shown}: the archive was altered or is none ({error}); nothing was restored")
        }
        _ => format!("{shown}: {error}"),
    };
    let mut gzip = GzDecoder::new(BufReader::with_capacity(1 << 20, file));
    let mut found: HashMap<String, (PathBuf, u64, String)> = HashMap::new();
    let mut manifest = None;
    let mut tar = tar::Archive::new(&mut gzip);
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        if name == MANIFEST {
            let mut text = Vec::new();
            (&mut entry)
                .take(MANIFEST_BYTES_MAX)
                .read_to_end(&mut text)
                .map_err(broken)?;
            manifest = Some(text);
            break;
        }
        // Names never become paths: whoever altered one cannot choose where it is written.
        let path = folder.join(format!("part-{}", found.len()));
        let mut digest = Digesting::new(entry);
        let mut target = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let bytes = io::copy(&mut digest, &mut target).map_err(broken)?;
        found.insert(name, (path, bytes, digest.hex()));
    }
    let manifest = manifest
        .ok_or_else(|| format!("{shown}: the archive was cut short: it has no manifest; nothing was restored"))?;
    // The checksum comes last.
    io::copy(&mut gzip, &mut io::sink()).map_err(broken)?;
    let manifest = parse(&manifest).map_err(|why| format!("{shown}: {why}; nothing was restored"))?;
    let mut files = Vec::with_capacity(manifest.parts.len());
    for part in &manifest.parts {
        let (path, bytes, sha256) = found
            .remove(&part.file)
            .ok_or_else(|| format!("{shown}: the archive lacks {}; nothing was restored", part.file))?;
        if bytes != part.bytes || sha256 != part.sha256 {
            return Err(format!(
                "{shown}: {} was altered: its SHA-256 is not the manifest's; nothing was restored",
                part.file
            ));
        }
        files.push(path);
    }
    Ok(Contents { manifest, files })
}

fn parse(text: &[u8]) -> Result<Manifest, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_slice(text).map_err(|e| format!("the manifest cannot be read: {e}"))?;
    if version.format != FORMAT {
        return Err(format!(
            "the archive has format {}, this version of Mainstay reads format {FORMAT}; use the version that wrote it",
            version.format
        ));
    }
    serde_json::from_slice(text).map_err(|e| format!("the manifest cannot be read: {e}"))
}

/// Hashes what is read through it.
struct Digesting<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Digesting<R> {
    fn new(inner: R) -> Digesting<R> {
        Digesting {
            inner,
            hash: Sha256::new(),
        }
    }

    fn hex(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Part, Table};

    fn example(folder: &Path) -> (PathBuf, Manifest) {
        let part = |store: &str| Part {
            store: store.to_owned(),
            engine: "sqlite".to_owned(),
            version: "SQLite 3".to_owned(),
            position: "7".to_owned(),
            file: format!("{store}.snapshot"),
            bytes: 0,
            sha256: String::new(),
            tables: vec![Table {
                name: "t".to_owned(),
                rows: 1,
                digest: "0".to_owned(),
            }],
            notes: Vec::new(),
        };
        let manifest = Manifest {
            format: FORMAT,
            project: "p".to_owned(),
            began: "2026-11-22T22:15:00Z".to_owned(),
            mainstay: "0".to_owned(),
            parts: vec![part("main"), part("bus")],
        };
        let files: Vec<PathBuf> = ["main", "bus"].iter().map(|name| folder.join(name)).collect();
        let noise: Vec<u8> = (0..200_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        std::fs::write(&files[0], noise).unwrap();
        std::fs::write(&files[1], b"").unwrap();
        let target = folder.join("archive");
        let manifest = write(&target, manifest, &files).unwrap();
        (target, manifest)
    }

    #[test]
    fn whole_ones_are_read_and_no_others() {
        let folder = std::env::temp_dir().join(format!("mainstay-archive-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("out")).unwrap();
        let (archive, manifest) = example(&folder);
        let contents = read(&archive, &folder.join("out")).unwrap();
        assert_eq!(contents.manifest, manifest);
        assert_eq!(
            std::fs::read(&contents.files[0]).unwrap(),
            std::fs::read(folder.join("main")).unwrap()
        );
        assert_eq!(std::fs::read(&contents.files[1]).unwrap(), b"");
        let whole = std::fs::read(&archive).unwrap();
        let bad = folder.join("bad");
        // Cut anywhere, the last byte included.
        for length in [
            0,
            1,
            10,
            100,
            whole.len() / 2,
            whole.len() - 9,
            whole.len() - 8,
            whole.len() - 1,
        ] {
            std::fs::write(&bad, &whole[..length]).unwrap();
            let why = read(&bad, &folder.join("out")).unwrap_err();
            assert!(why.contains("nothing was restored"), "{length}: {why}");
        }
        // One bit anywhere but in gzip's ten bytes of header, of which the time and the system mean nothing.
        for at in (10..whole.len()).step_by(whole.len() / 97) {
            let mut altered = whole.clone();
            altered[at] ^= 4;
            std::fs::write(&bad, altered).unwrap();
            assert!(read(&bad, &folder.join("out")).is_err(), "byte {at}");
        }
        std::fs::write(&bad, "no archive").unwrap();
        assert!(
            read(&bad, &folder.join("out"))
                .unwrap_err()
                .contains("altered or is none")
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_part_that_is_not_the_manifests_is_found() {
        let folder = std::env::temp_dir().join(format!("mainstay-archive-part-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (archive, manifest) = example(&folder);
        let contents = read(&archive, &folder).unwrap();
        // Repacked by hand, sound as a tar, with another part.
        let other = folder.join("other");
        let gzip = GzEncoder::new(File::create(&other).unwrap(), Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        for (part, text) in contents.manifest.parts.iter().zip([&b"something else"[..], b""]) {
            tar.append_data(&mut header(text.len() as u64), &part.file, text)
                .unwrap();
        }
        let text = serde_json::to_vec(&manifest).unwrap();
        tar.append_data(&mut header(text.len() as u64), MANIFEST, &*text)
            .unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let why = read(&other, &folder).unwrap_err();
        assert!(why.contains("main.snapshot was altered"), "{why}");
        let newer = serde_json::to_vec(&Manifest { format: 9, ..manifest }).unwrap();
        assert!(parse(&newer).unwrap_err().contains("format 9"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
