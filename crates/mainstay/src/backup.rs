//! `mainstay backup`: a snapshot of every store, and of what waits on the embedded bus, in one archive; on demand, and by the
//! worker of a process that serves, on a schedule and with retention.

use crate::cli::{Backup, Instance};
use crate::output::say;
use crate::project::{self, Loaded};
use crate::{admin, engines};
use mainstay_archive::{Entry, FORMAT, Keep, Manifest, Name, Part, Place, S3, Table, Time, expired};
use mainstay_bus::Bus;
use mainstay_config::Project;
use mainstay_config::units::{display_duration, parse_duration};
use mainstay_store::{Recovery, Snapshot, TableDigest};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A failed backup is tried again after this, or after the interval if that is shorter.
const RETRY: Duration = Duration::from_secs(60);

/// A backup that was taken.
pub struct Taken {
    /// Its archive's name.
    pub name: Name,
    /// The archive's length.
    pub bytes: u64,
    /// The archives that went, as nothing wants them any more.
    pub removed: Vec<Name>,
}

/// `mainstay backup`
pub fn run(options: Backup) -> Result<(), Box<dyn Display>> {
    let fail = |text: String| Box::new(text) as Box<dyn Display>;
    project::expect_one(&options.dir).map_err(fail)?;
    let loaded = project::load(&options.dir, &options.set).map_err(|p| Box::new(p) as Box<dyn Display>)?;
    let work = async {
        let place = place(&loaded.project, options.to.as_deref())?;
        if options.list {
            for Entry { name, bytes } in place.list(&project_name(&loaded.project)).await? {
                say!("{name}  {bytes} bytes  {}", name.time.rfc3339());
            }
            return Ok(());
        }
        let began = Instant::now();
        let instance = Instance {
            dir: options.dir.clone(),
            admin: options.admin.clone(),
            set: options.set.clone(),
        };
        let taken = take(&loaded, &place, Waiting::Instance(&instance)).await?;
        for name in &taken.removed {
            say!("removed {name}");
        }
        let took = Duration::from_millis(began.elapsed().as_millis() as u64);
        say!(
            "{} in {}: {} bytes in {}",
            taken.name,
            place.shown(),
            taken.bytes,
            display_duration(took)
        );
        Ok(())
    };
    runtime().map_err(fail)?.block_on(work).map_err(fail)
}

/// A runtime of a command's own.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime could be started: {e}"))
}

/// Where archives are: what the command line says, or the file.
pub fn place(project: &Project, to: Option<&str>) -> Result<Place, String> {
    let backup = &project.backup;
    // On the command line a folder is relative to where one stands.
    let (to, base) = match (to, &backup.to) {
        (Some(to), _) => (to, Path::new(".")),
        (None, Some(to)) => (to.as_str(), &*project.directory),
        (None, None) => {
            return Err(
                "nothing says where backups are: give --to FOLDER or --to s3://bucket/prefix, or write [backup] to"
                    .to_owned(),
            );
        }
    };
    let secret = |s: &Option<mainstay_config::Secret>| s.as_ref().map(|s| s.expose().to_owned());
    let s3 = S3 {
        endpoint: backup.endpoint.as_ref().map(|url| url.expose().to_owned()),
        region: backup.region.clone(),
        access_key: secret(&backup.access_key),
        secret_key: secret(&backup.secret_key),
    };
    Place::open(to, base, &s3)
}

/// What a project is called: its folder's name.
pub fn project_name(project: &Project) -> String {
    let folder = std::fs::canonicalize(&project.directory).unwrap_or_else(|_| project.directory.clone());
    folder
        .file_name()
        .map_or("project".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// How what waits on an embedded bus is got at: it is read by nobody but the process that has it open.
pub enum Waiting<'a> {
    /// This process has it open.
    Own(&'a Arc<dyn Bus>),
    /// Perhaps a running instance has.
    Instance(&'a Instance),
}

/// Takes a backup now, and removes what is not to be kept any longer.
pub async fn take(loaded: &Loaded, place: &Place, waiting: Waiting<'_>) -> Result<Taken, String> {
    let project = &loaded.project;
    let spool = Spool::new(project)?;
    let began = Time::now();
    let name = Name::new(&project_name(project), began);
    let (mut parts, mut files) = (Vec::new(), Vec::new());
    // The stores before the bus: an event that is relayed meanwhile is then in both, and its id says that it is the same.
    for recovery in engines::recoveries(project)? {
        let file = spool.path(&format!("{}.snapshot", recovery.name()));
        let snapshot = recovery
            .snapshot(&file)
            .await
            .map_err(|e| format!("store \"{}\": {}", recovery.name(), told(&e)))?;
        parts.push(part(&*recovery, snapshot));
        files.push(file);
    }
    for name in engines::buses(project) {
        let recovery = engines::recovery(project, &name)?;
        let file = spool.path(&format!("{name}.snapshot"));
        if let Some(snapshot) = snapshot_of_bus(&*recovery, &file, &waiting).await? {
            parts.push(part(&*recovery, snapshot));
            files.push(file);
        }
    }
    if parts.is_empty() {
        return Err("there is nothing to back up: the project has no store".to_owned());
    }
    let manifest = Manifest {
        format: FORMAT,
        project: project_name(project),
        began: began.rfc3339(),
        mainstay: env!("CARGO_PKG_VERSION").to_owned(),
        parts,
    };
    let archive = spool.path("archive");
    let target = archive.clone();
    tokio::task::spawn_blocking(move || {
        let written = mainstay_archive::write(&target, manifest, &files);
        files.iter().for_each(|file| drop(std::fs::remove_file(file)));
        written
    })
    .await
    .map_err(|e| e.to_string())?
    .map_err(|e| format!("the archive could not be written: {e}"))?;
    let bytes = std::fs::metadata(&archive).map_err(|e| e.to_string())?.len();
    place.put(&name, &archive).await?;
    let removed = prune(project, place).await?;
    Ok(Taken { name, bytes, removed })
}

async fn snapshot_of_bus(
    recovery: &dyn Recovery,
    file: &Path,
    waiting: &Waiting<'_>,
) -> Result<Option<Snapshot>, String> {
    let of = |e: mainstay_model::Error| format!("the bus: {}", told(&e));
    let refused = match recovery.snapshot(file).await {
        Ok(snapshot) => return Ok(Some(snapshot)),
        Err(e) if e.code == "55006" => e,
        Err(e) => return Err(of(e)),
    };
    let copy = match waiting {
        Waiting::Own(bus) => {
            let copy = file.with_extension("copy");
            bus.snapshot(&copy).await.map_err(of)?.then_some(copy)
        }
        Waiting::Instance(instance) => {
            admin::snapshot_of_bus(instance).map_err(|why| format!("{}: {why}", of(refused)))?
        }
    };
    let Some(copy) = copy else { return Ok(None) };
    let snapshot = engines::copy_of_bus(recovery.name(), &copy)
        .snapshot(file)
        .await
        .map_err(of);
    let _ = std::fs::remove_file(&copy);
    snapshot.map(Some)
}

/// An error in one line.
pub fn told(error: &mainstay_model::Error) -> String {
    let mut text = error.message.clone();
    for more in error.details.iter().chain(&error.hint) {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

fn part(recovery: &dyn Recovery, snapshot: Snapshot) -> Part {
    let table = |t: TableDigest| Table {
        name: t.name,
        rows: t.rows,
        digest: t.digest,
    };
    Part {
        store: recovery.name().to_owned(),
        engine: recovery.engine().to_owned(),
        version: snapshot.version,
        position: snapshot.position,
        file: format!("{}.snapshot", recovery.name()),
        bytes: 0,
        sha256: String::new(),
        tables: snapshot.tables.into_iter().map(table).collect(),
        notes: snapshot.notes,
    }
}

async fn prune(project: &Project, place: &Place) -> Result<Vec<Name>, String> {
    let keep = project.backup.keep;
    let keep = Keep {
        last: keep.last,
        daily: keep.daily,
        weekly: keep.weekly,
        monthly: keep.monthly,
    };
    let names = place
        .list(&project_name(project))
        .await?
        .into_iter()
        .map(|e| e.name)
        .collect();
    let gone = expired(keep, names);
    for name in &gone {
        place.delete(name).await?;
    }
    Ok(gone)
}

/// A folder for files on their way, gone when it is dropped. It lies beside the project's state: temporary folders are often small.
pub struct Spool(PathBuf);

impl Spool {
    /// A new one. What a process that was killed has left behind is removed.
    pub fn new(project: &Project) -> Result<Spool, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let state = project.state_directory();
        let failed = |e: std::io::Error| crate::secrets::unusable(&state, "cannot be written", &e);
        for left in std::fs::read_dir(&state).into_iter().flatten().flatten() {
            let name = left.file_name();
            let owner = name
                .to_str()
                .and_then(|n| n.strip_prefix("spool-")?.split('-').next()?.parse::<u32>().ok());
            if owner.is_some_and(|id| id != std::process::id() && !Path::new(&format!("/proc/{id}")).exists()) {
                let _ = std::fs::remove_dir_all(left.path());
            }
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = state.join(format!("spool-{}-{n}", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(failed)?;
        Ok(Spool(folder))
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// ----- On a schedule

/// Starts taking backups as `[backup] every` says; `None` when it says nothing. Several workers of one project do not take turns:
/// each looks at what is there, and takes one when the newest is old enough.
pub fn schedule(loaded: Arc<Loaded>, bus: Arc<dyn Bus>) -> Result<Option<tokio::task::JoinHandle<()>>, String> {
    let backup = &loaded.project.backup;
    let (Some(every), Some(_)) = (backup.every, &backup.to) else {
        return Ok(None);
    };
    let place = place(&loaded.project, None)?;
    describe();
    Ok(Some(tokio::spawn(keep_taking(loaded, bus, place, every))))
}

fn describe() {
    use mainstay_telemetry::describe;
    describe(
        "mainstay_backup_age_seconds",
        "Age of the newest good backup; absent while there is none.",
    );
    describe("mainstay_backup_bytes", "Length of the newest backup.");
    describe("mainstay_backup_seconds", "How long the newest backup took.");
    describe(
        "mainstay_backups_total",
        "Backups that the schedule took, and that failed, by outcome.",
    );
}

async fn keep_taking(loaded: Arc<Loaded>, bus: Arc<dyn Bus>, place: Place, every: Duration) {
    let project = project_name(&loaded.project);
    let newest = Arc::new(AtomicI64::new(i64::MIN));
    let mut shows_age = false;
    loop {
        let wait = match due(&place, &project, every).await {
            Ok((latest, wait)) => {
                newest.store(latest.map_or(i64::MIN, Time::ms), Ordering::Relaxed);
                if wait.is_zero() {
                    attempt(&loaded, &bus, &place, &newest, every).await
                } else {
                    wait
                }
            }
            Err(why) => {
                failed(&why);
                RETRY.min(every)
            }
        };
        if !shows_age && newest.load(Ordering::Relaxed) != i64::MIN {
            shows_age = true;
            let newest = newest.clone();
            let age = move || (Time::now().ms() - newest.load(Ordering::Relaxed)) as f64 / 1000.0;
            mainstay_telemetry::gauge_fn("mainstay_backup_age_seconds", &[], age);
        }
        tokio::time::sleep(wait).await;
    }
}

/// The newest backup, and how long the next one has time.
async fn due(place: &Place, project: &str, every: Duration) -> Result<(Option<Time>, Duration), String> {
    let latest = place.list(project).await?.first().map(|entry| entry.name.time);
    let wait = latest.map_or(Duration::ZERO, |latest| {
        let age = Duration::from_millis((Time::now().ms() - latest.ms()).max(0) as u64);
        every.saturating_sub(age)
    });
    Ok((latest, wait))
}

/// Takes one; gives how long to wait then.
async fn attempt(loaded: &Loaded, bus: &Arc<dyn Bus>, place: &Place, newest: &AtomicI64, every: Duration) -> Duration {
    let began = Instant::now();
    match take(loaded, place, Waiting::Own(bus)).await {
        Ok(taken) => {
            newest.store(taken.name.time.ms(), Ordering::Relaxed);
            let seconds = began.elapsed().as_secs_f64();
            mainstay_telemetry::counter("mainstay_backups_total", &[("outcome", "taken")]).inc();
            mainstay_telemetry::gauge("mainstay_backup_bytes", &[]).set(taken.bytes as f64);
            mainstay_telemetry::gauge("mainstay_backup_seconds", &[]).set(seconds);
            mainstay_telemetry::info!(
                "backup",
                "{} taken to {}: {} bytes in {seconds:.1} s, {} removed",
                taken.name,
                place.shown(),
                taken.bytes,
                taken.removed.len()
            );
            every.saturating_sub(began.elapsed())
        }
        Err(why) => {
            failed(&why);
            RETRY.min(every)
        }
    }
}

fn failed(why: &str) {
    mainstay_telemetry::counter("mainstay_backups_total", &[("outcome", "failed")]).inc();
    mainstay_telemetry::error!("backup", "no backup was taken: {why}");
}

/// How long ago a moment was, in words.
pub fn ago(time: Time) -> String {
    let seconds = (Time::now().ms() - time.ms()).max(0) / 1000;
    let coarse = match seconds {
        0..=119 => seconds,
        120..=7199 => seconds / 60 * 60,
        _ => seconds / 3600 * 3600,
    };
    let text = display_duration(Duration::from_secs(coarse as u64));
    debug_assert!(parse_duration(&text).is_some());
    format!("{text} ago")
}
