//! Where archives are kept: a folder, or a bucket of whatever speaks S3. Either way an archive is there whole or not at all.

use crate::name::Name;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, WriteMultipart};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one part of an upload, and of one request of a download.
const CHUNK: usize = 8 << 20;
/// Parts of an upload under way at once.
const PARALLEL: usize = 4;

/// How a bucket is reached; what is absent comes from the usual `AWS_…` variables or the machine's own role.
#[derive(Clone, Default)]
pub struct S3 {
    /// The service's URL, for those that are not Amazon's: `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key: Option<String>,
    /// The access key's secret.
    pub secret_key: Option<String>,
}

/// A place for archives.
pub struct Place {
    kind: Kind,
    shown: String,
}

enum Kind {
    Folder(PathBuf),
    Bucket { bucket: Arc<AmazonS3>, prefix: String },
}

/// An archive where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// Its length.
    pub bytes: u64,
}

impl Place {
    /// `s3://bucket/prefix`, or a folder relative to `base`.
    pub fn open(to: &str, base: &Path, s3: &S3) -> Result<Place, String> {
        let Some(rest) = to.strip_prefix("s3://") else {
            let folder = base.join(to.strip_prefix("file://").unwrap_or(to));
            return Ok(Place {
                shown: folder.display().to_string(),
                kind: Kind::Folder(folder),
            });
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(format!("{to}: names no bucket; write s3://bucket/prefix"));
        }
        // Whichever comes first is kept, and it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(10))
            .with_timeout(Duration::from_secs(300));
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(false)
            .with_client_options(options);
        if let Some(endpoint) = &s3.endpoint {
            builder = builder
                .with_allow_http(endpoint.starts_with("http://"))
                .with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(region) = &s3.region {
            builder = builder.with_region(region);
        }
        if let Some(key) = &s3.access_key {
            builder = builder.with_access_key_id(key);
        }
        if let Some(secret) = &s3.secret_key {
            builder = builder.with_secret_access_key(secret);
        }
        let bucket = builder.build().map_err(|e| format!("{to}: {e}"))?;
        Ok(Place {
            kind: Kind::Bucket {
                bucket: Arc::new(bucket),
                prefix: prefix.trim_matches('/').to_owned(),
            },
            shown: to.to_owned(),
        })
    }

    /// What the place is called in messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The archives of a project, the newest first. A folder that is not there yet holds none.
    pub async fn list(&self, project: &str) -> Result<Vec<Entry>, String> {
        let mut entries: Vec<Entry> = match &self.kind {
            Kind::Folder(folder) => match std::fs::read_dir(folder) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(e) => return Err(self.failed(&e)),
                Ok(files) => files
                    .flatten()
                    .filter_map(|file| {
                        let name = Name::parse(file.file_name().to_str()?)?;
                        let bytes = file.metadata().ok()?.len();
                        Some(Entry { name, bytes })
                    })
                    .collect(),
            },
            Kind::Bucket { bucket, prefix } => {
                let prefix = Key::from(prefix.as_str());
                let listed = bucket
                    .list_with_delimiter(Some(&prefix))
                    .await
                    .map_err(|e| self.failed(&e))?;
                let entry = |object: object_store::ObjectMeta| {
                    Some(Entry {
                        name: Name::parse(object.location.filename()?)?,
                        bytes: object.size,
                    })
                };
                listed.objects.into_iter().filter_map(entry).collect()
            }
        };
        let project = Name::new(project, crate::Time::from_ms(0)).project;
        entries.retain(|entry| entry.name.project == project);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.name.time));
        Ok(entries)
    }

    /// Puts an archive there, under its name. When this returns it is there to stay.
    pub async fn put(&self, name: &Name, file: &Path) -> Result<(), String> {
        match &self.kind {
            Kind::Folder(folder) => {
                let (folder, file, name) = (folder.clone(), file.to_owned(), name.to_string());
                let done = tokio::task::spawn_blocking(move || copy_in(&folder, &file, &name)).await;
                done.unwrap_or_else(|e| Err(io::Error::other(e)))
                    .map_err(|e| self.failed(&e))
            }
            Kind::Bucket { bucket, prefix } => {
                let key = key(prefix, &name.to_string());
                let mut source = File::open(file).map_err(|e| format!("{}: {e}", file.display()))?;
                let length = source.metadata().map_err(|e| self.failed(&e))?.len();
                let upload = bucket.put_multipart(&key).await.map_err(|e| self.failed(&e))?;
                let mut upload = WriteMultipart::new_with_chunk_size(upload, CHUNK);
                let mut buffer = vec![0; CHUNK];
                loop {
                    let read = source.read(&mut buffer).map_err(|e| self.failed(&e))?;
                    if read == 0 {
                        break;
                    }
                    if let Err(error) = upload.wait_for_capacity(PARALLEL).await {
                        // What was sent is of no use, and would be paid for.
                        let _ = upload.abort().await;
                        return Err(self.failed(&error));
                    }
                    upload.write(&buffer[..read]);
                }
                upload.finish().await.map_err(|e| self.failed(&e))?;
                let kept = bucket.head(&key).await.map_err(|e| self.failed(&e))?.size;
                if kept != length {
                    return Err(self.failed(&format!("{kept} bytes arrived of {length}")));
                }
                Ok(())
            }
        }
    }

    /// Fetches an archive into a file. An archive in a folder is read where it is.
    pub async fn get(&self, name: &Name, into: &Path) -> Result<PathBuf, String> {
        match &self.kind {
            Kind::Folder(folder) => Ok(folder.join(name.to_string())),
            Kind::Bucket { bucket, prefix } => {
                let key = key(prefix, &name.to_string());
                let size = bucket.head(&key).await.map_err(|e| self.failed(&e))?.size;
                let mut target = File::create(into).map_err(|e| format!("{}: {e}", into.display()))?;
                let mut at = 0;
                while at < size {
                    let end = size.min(at + CHUNK as u64);
                    let bytes = bucket.get_range(&key, at..end).await.map_err(|e| self.failed(&e))?;
                    target
                        .write_all(&bytes)
                        .map_err(|e| format!("{}: {e}", into.display()))?;
                    at = end;
                }
                Ok(into.to_owned())
            }
        }
    }

    /// Removes an archive.
    pub async fn delete(&self, name: &Name) -> Result<(), String> {
        match &self.kind {
            Kind::Folder(folder) => std::fs::remove_file(folder.join(name.to_string())).map_err(|e| self.failed(&e)),
            Kind::Bucket { bucket, prefix } => bucket
                .delete(&key(prefix, &name.to_string()))
                .await
                .map_err(|e| self.failed(&e)),
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> String {
        format!("{}: {error}", self.shown)
    }
}

fn key(prefix: &str, name: &str) -> Key {
    match prefix {
        "" => Key::from(name),
        prefix => Key::from(format!("{prefix}/{name}")),
    }
}

/// Beside first, then in one step under its own name.
fn copy_in(folder: &Path, file: &Path, name: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let target = folder.join(name);
    if target.exists() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{name} is there already"),
        ));
    }
    let beside = folder.join(format!("{name}.part"));
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut copy = options.open(&beside)?;
    io::copy(&mut File::open(file)?, &mut copy)?;
    copy.sync_all()?;
    std::fs::rename(&beside, &target)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;

    #[test]
    fn a_folder_keeps_a_projects_archives() {
        let folder = std::env::temp_dir().join(format!("mainstay-place-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let place = Place::open("kept", &folder, &S3::default()).unwrap();
        assert_eq!(run.block_on(place.list("p")).unwrap(), []);
        let file = folder.join("archive");
        std::fs::write(&file, "abc").unwrap();
        let name = |project, ms| Name::new(project, Time::from_ms(ms));
        for (project, ms) in [("p", 1000), ("p", 3000), ("other", 5000), ("p", 2000)] {
            run.block_on(place.put(&name(project, ms), &file)).unwrap();
        }
        assert!(
            run.block_on(place.put(&name("p", 1000), &file))
                .unwrap_err()
                .contains("there already")
        );
        std::fs::write(folder.join("kept/notes.txt"), "").unwrap();
        let times = |place: &Place| -> Vec<i64> {
            run.block_on(place.list("p"))
                .unwrap()
                .iter()
                .map(|e| e.name.time.ms())
                .collect()
        };
        assert_eq!(times(&place), [3000, 2000, 1000]);
        let path = run.block_on(place.get(&name("p", 2000), &file)).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"abc");
        run.block_on(place.delete(&name("p", 2000))).unwrap();
        assert_eq!(times(&place), [3000, 1000]);
        assert!(Place::open("s3://", &folder, &S3::default()).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
