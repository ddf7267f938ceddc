//! Static files from one folder: small ones from memory, large ones as they are read.
//!
//! Nothing outside of the folder is reachable: paths that climb are refused before they get here, names that begin with a
//! dot do not exist, and a link that leads out of the folder is as good as absent.

use crate::body::{Body, Source};
use crate::compress;
use crate::conditional::{self, Span};
use crate::refusal::Refusal;
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    LAST_MODIFIED, LOCATION, RANGE,
};
use http::{Method, Response, StatusCode};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// How long a file in memory is believed to be unchanged before the disk is asked again.
const CHECK_EVERY: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 64 << 10;

/// The folder and what is kept of it in memory.
pub(crate) struct Files {
    root: PathBuf,
    kept: RwLock<Kept>,
    memory_max: u64,
    file_max: u64,
}

#[derive(Default)]
struct Kept {
    bytes: u64,
    by_path: HashMap<String, Arc<Entry>>,
}

/// What is known of one file.
struct Entry {
    path: PathBuf,
    modified: SystemTime,
    version: Version,
    length: u64,
    etag: HeaderValue,
    last_modified: HeaderValue,
    content_type: &'static str,
    cache_control: &'static str,
    /// The bytes, if the file is small.
    bytes: Option<Bytes>,
    gzip: OnceLock<Option<Bytes>>,
    checked: RwLock<Instant>,
}

/// What tells a file from another under the same name: a rewrite may keep length and time, but not the time of its own change.
type Version = (u64, Option<SystemTime>, (u64, i64, i64));

fn version(metadata: &Metadata) -> Version {
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    #[cfg(not(unix))]
    let changed = (0, 0, 0);
    (metadata.len(), metadata.modified().ok(), changed)
}

enum Found {
    File(Arc<Entry>),
    /// A folder asked for without its slash.
    Folder,
}

impl Files {
    /// Serves `root`, which must be a folder.
    pub(crate) fn open(root: &Path, memory_max: u64, file_max: u64) -> io::Result<Files> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"));
        }
        Ok(Files {
            root,
            kept: RwLock::default(),
            memory_max,
            file_max,
        })
    }

    /// Answers a GET or HEAD for a decoded path.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        compress: bool,
    ) -> Result<Response<Body>, Refusal> {
        let entry = match self.find(path).await {
            Some(Found::File(entry)) => entry,
            Some(Found::Folder) => return Ok(redirect(path, query)),
            None => {
                return Err(
                    Refusal::new(StatusCode::NOT_FOUND, "GW701", "There is no such file").details(path.to_owned())
                );
            }
        };
        let negotiates = compress && entry.compressed().is_some();
        let accepts = negotiates && compress::accepts_gzip(headers);
        if let Some(status) = conditional::evaluate(headers, &entry.etag, entry.modified) {
            let mut response = Response::new(Body::Full(Bytes::new()));
            *response.status_mut() = status;
            entry.describe(response.headers_mut(), negotiates);
            response.headers_mut().remove(CONTENT_TYPE);
            if accepts {
                compress::weaken(response.headers_mut());
            }
            return Ok(response);
        }
        let range = if *method == Method::GET && conditional::range_applies(headers, &entry.etag, &entry.last_modified)
        {
            headers.get(RANGE)
        } else {
            None
        };
        let span = match range.map(|r| conditional::span(r.as_bytes(), entry.length)) {
            Some(Span::Of(from, to)) => Some((from, to)),
            Some(Span::Unsatisfiable) => {
                let all = HeaderValue::try_from(format!("bytes */{}", entry.length))
                    .unwrap_or_else(|_| HeaderValue::from_static(""));
                return Err(Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "GW702",
                    "The range is outside of the file",
                )
                .details(format!("the file has {} bytes", entry.length))
                .header(CONTENT_RANGE, all));
            }
            Some(Span::Ignore) | None => None,
        };
        let mut response = Response::new(Body::Full(Bytes::new()));
        entry.describe(response.headers_mut(), negotiates);
        response
            .headers_mut()
            .insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some((from, to)) = span {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = HeaderValue::try_from(format!("bytes {from}-{to}/{}", entry.length));
            response
                .headers_mut()
                .insert(CONTENT_RANGE, value.unwrap_or_else(|_| HeaderValue::from_static("")));
        }
        let (from, length) = span.map_or((0, entry.length), |(from, to)| (from, to + 1 - from));
        if span.is_none()
            && accepts
            && let Some(compressed) = entry.compressed()
        {
            compress::mark(response.headers_mut());
            match *method {
                Method::HEAD => {
                    let length = HeaderValue::from(compressed.len());
                    response.headers_mut().insert(CONTENT_LENGTH, length);
                }
                _ => *response.body_mut() = Body::Full(compressed),
            }
            return Ok(response);
        }
        if *method == Method::HEAD {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            return Ok(response);
        }
        *response.body_mut() = match &entry.bytes {
            Some(bytes) => Body::Full(bytes.slice(from as usize..(from + length) as usize)),
            None => match Reader::open(&entry, from, length).await.map_err(|e| gone(path, &e))? {
                Some(reader) => Body::stream(Source::File(reader)),
                // Another file has taken its place since it was looked at.
                None => {
                    self.forget(path);
                    return Box::pin(self.answer(method, path, query, headers, compress)).await;
                }
            },
        };
        Ok(response)
    }

    async fn find(&self, path: &str) -> Option<Found> {
        let kept = self.kept.read().by_path.get(path).cloned();
        if let Some(entry) = kept {
            if entry.checked.read().elapsed() < CHECK_EVERY {
                return Some(Found::File(entry));
            }
            if let Ok(metadata) = tokio::fs::metadata(&entry.path).await
                && entry.version == version(&metadata)
            {
                *entry.checked.write() = Instant::now();
                return Some(Found::File(entry));
            }
            self.forget(path);
        }
        self.load(path).await
    }

    async fn load(&self, path: &str) -> Option<Found> {
        let mut relative = PathBuf::new();
        for segment in path.split('/').filter(|s| !s.is_empty()) {
            // An encoded slash, and what other systems take for one, is in no file's name.
            if segment.starts_with('.') || segment.contains(['\\', ':', '\0']) || segment.contains("%2F") {
                return None;
            }
            relative.push(segment);
        }
        let asked = self.root.join(&relative);
        let folder = tokio::fs::metadata(&asked).await.ok()?.is_dir();
        if folder && !path.ends_with('/') {
            // Only where there is something to be redirected to.
            return tokio::fs::metadata(asked.join("index.html"))
                .await
                .ok()
                .map(|_| Found::Folder);
        }
        if !folder && path.ends_with('/') {
            return None;
        }
        let wanted = if folder { asked.join("index.html") } else { asked };
        let real = tokio::fs::canonicalize(&wanted).await.ok()?;
        let inside = real.strip_prefix(&self.root).ok()?;
        // A link may lead elsewhere in the folder, but not to what is hidden there.
        if inside
            .components()
            .any(|c| c.as_os_str().to_string_lossy().starts_with('.'))
        {
            return None;
        }
        let metadata = tokio::fs::metadata(&real).await.ok()?;
        if !metadata.is_file() {
            return None;
        }
        let bytes = if metadata.len() <= self.file_max {
            Some(Bytes::from(tokio::fs::read(&real).await.ok()?))
        } else {
            None
        };
        let entry = Arc::new(Entry::new(real, &wanted, &metadata, bytes)?);
        self.keep(path, &entry);
        Some(Found::File(entry))
    }

    fn keep(&self, path: &str, entry: &Arc<Entry>) {
        let size = entry.weight();
        let mut kept = self.kept.write();
        if kept.bytes + size > self.memory_max {
            // Whatever is wanted comes back by itself; what matters is the bound.
            *kept = Kept::default();
        }
        if size <= self.memory_max {
            kept.bytes += size;
            if let Some(old) = kept.by_path.insert(path.to_owned(), entry.clone()) {
                kept.bytes = kept.bytes.saturating_sub(old.weight());
            }
        }
    }

    fn forget(&self, path: &str) {
        let mut kept = self.kept.write();
        if let Some(old) = kept.by_path.remove(path) {
            kept.bytes = kept.bytes.saturating_sub(old.weight());
        }
    }
}

impl Entry {
    fn new(real: PathBuf, asked: &Path, metadata: &Metadata, bytes: Option<Bytes>) -> Option<Entry> {
        let modified = metadata.modified().ok()?;
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The same bytes have the same tag on every instance; of a large file only its age and size are known.
        let etag = match &bytes {
            Some(bytes) => {
                let digest = Sha256::digest(bytes);
                format!(
                    "\"{}\"",
                    digest[..12].iter().map(|b| format!("{b:02x}")).collect::<String>()
                )
            }
            None => format!("\"{:x}-{:x}\"", since.as_nanos(), metadata.len()),
        };
        let name = asked.file_name()?.to_str()?;
        let content_type = content_type(name);
        Some(Entry {
            path: real,
            modified,
            version: version(metadata),
            length: bytes.as_ref().map_or(metadata.len(), |b| b.len() as u64),
            etag: HeaderValue::try_from(etag).ok()?,
            last_modified: HeaderValue::try_from(conditional::http_date(modified)).ok()?,
            content_type,
            cache_control: cache_control(name, content_type),
            bytes,
            gzip: OnceLock::new(),
            checked: RwLock::new(Instant::now()),
        })
    }

    /// `negotiates`: what is sent depends on what the client accepts.
    fn describe(&self, headers: &mut HeaderMap, negotiates: bool) {
        if negotiates {
            compress::vary(headers);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(ETAG, self.etag.clone());
        headers.insert(LAST_MODIFIED, self.last_modified.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    }

    /// The compressed bytes, made once; `None` where that saves nothing.
    fn compressed(&self) -> Option<Bytes> {
        let text = self.content_type.starts_with("text/") || is_text(self.content_type);
        let make = || {
            let bytes = self.bytes.as_ref().filter(|b| text && b.len() >= 1_024)?;
            Some(compress::gzip(bytes)).filter(|c| c.len() < bytes.len())
        };
        self.gzip.get_or_init(make).clone()
    }

    fn weight(&self) -> u64 {
        // Twice, because the compressed form may come to it.
        self.bytes.as_ref().map_or(0, |b| b.len() as u64 * 2) + 512
    }
}

fn is_text(content_type: &str) -> bool {
    ["json", "javascript", "xml", "wasm"]
        .iter()
        .any(|kind| content_type.contains(kind))
}

fn redirect(path: &str, query: Option<&str>) -> Response<Body> {
    let mut encoded = String::with_capacity(path.len() + 1);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded.push('/');
    if let Some(query) = query {
        encoded.push('?');
        encoded.push_str(query);
    }
    let mut response = Response::new(Body::Full(Bytes::new()));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(
        LOCATION,
        HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static("/")),
    );
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn gone(path: &str, error: &io::Error) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "GW701", "There is no such file").details(format!("{path}: {error}"))
}

/// A page is asked for again each time, a name that changes with its content never, the rest now and then.
fn cache_control(name: &str, content_type: &str) -> &'static str {
    if is_fingerprinted(name) {
        "public, max-age=31536000, immutable"
    } else if content_type.starts_with("text/html") {
        "public, max-age=0, must-revalidate"
    } else {
        "public, max-age=60, must-revalidate"
    }
}

/// Whether a name carries a hash of its content: between two dots, or after a `-` before the last, eight or more
/// hexadecimal digits, or what bundlers make of base 64, that are not simply a word or a date.
fn is_fingerprinted(name: &str) -> bool {
    let Some((stem, _)) = name.rsplit_once('.') else {
        return false;
    };
    // `app.3f9a1c2b.min.js`, `app.3f9a1c2b.js.map`
    stem.split('.').skip(1).any(is_hash)
        || stem
            .rsplit_once('-')
            .is_some_and(|(_, last)| is_hash(last.split('.').next().unwrap_or("")))
}

fn is_hash(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    if part.len() < 8 || digits == 0 || digits == part.len() {
        return false;
    }
    let hex = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let upper = part.bytes().any(|b| b.is_ascii_uppercase());
    let lower = part.bytes().any(|b| b.is_ascii_lowercase());
    hex || (part.len() <= 12 && upper && lower && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e).to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json; charset=utf-8",
        "webmanifest" => "application/manifest+json; charset=utf-8",
        "xml" => "application/xml; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "svg" => "image/svg+xml; charset=utf-8",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

/// A part of a file, read while it is sent.
pub(crate) struct Reader {
    file: tokio::fs::File,
    left: u64,
    buf: BytesMut,
}

impl Reader {
    /// `None` if the file is another one than the entry is about.
    async fn open(entry: &Entry, from: u64, length: u64) -> io::Result<Option<Reader>> {
        let mut file = tokio::fs::File::open(&entry.path).await?;
        if version(&file.metadata().await?) != entry.version {
            return Ok(None);
        }
        file.set_max_buf_size(READ_BYTES);
        if from > 0 {
            file.seek(SeekFrom::Start(from)).await?;
        }
        Ok(Some(Reader {
            file,
            left: length,
            buf: BytesMut::new(),
        }))
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.buf.reserve(READ_BYTES);
        if ready!(pin!(self.file.read_buf(&mut self.buf)).poll(cx))? == 0 {
            let error = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            );
            return Poll::Ready(Some(Err(error)));
        }
        // It may also have become longer.
        let step = self.left.min(self.buf.len() as u64);
        self.left -= step;
        let bytes = self.buf.split_to(step as usize).freeze();
        Poll::Ready(Some(Ok(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_hash_are_told_from_names_without() {
        for (name, wanted) in [
            ("app.3f9a1c2b.js", true),
            ("app.3f9a1c2b9d.min.css", true),
            ("app-3f9a1c2b.js", true),
            ("index-BxZ3k9aQ.js", true),
            ("app.3f9a1c2b.js.map", true),
            ("app.js", false),
            ("app.min.js", false),
            ("report-20240101.pdf", false),
            ("jquery-3.7.1.js", false),
            ("deadbeef", false),
            ("my-component.js", false),
            ("a-feedback.js", false),
            ("3f9a1c2b.js", false),
            ("app.decade.js", false),
        ] {
            assert_eq!(is_fingerprinted(name), wanted, "{name}");
        }
    }
}
