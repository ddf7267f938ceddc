//! Memory under churn: the cache filled over and over with answers that writes keep dropping. Not a ratio: a bound.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::mainstay::{self, Extras};
use super::process::Folder;
use super::{Place, Server};
use crate::command::capture;

/// The cache's limit unless another is asked for, in MiB.
pub const CACHE_MIB: u64 = 64;

/// What the process may hold beyond its idle size, as a multiple of the cache's limit.
const AIM: f64 = 1.15;

/// How full the cache must be in the end for the run to say anything, as a share of its limit. The rest of the limit is its
/// ring of recent commits and what is in the queue of its eviction.
const FULL: f64 = 0.85;

/// Runs the load for so many minutes through a cache of so many MiB and prints idle, highest and last resident memory. Fails when
/// the bound is passed, or when the cache was not full.
pub fn run(root: &Path, minutes: f64, cache_mib: u64) -> Result<(), String> {
    let folder = Folder::new("churn")?;
    let own = folder.inside("0")?;
    let place = Place {
        root,
        core: 1,
        folder: &own,
    };
    let server = mainstay::start(&place, Extras::Off, &format!("[cache]\nmemory = \"{cache_mib}MiB\"\n"))?;
    let started = resident(&server)?;
    warm(&server, &own)?;
    let idle = resident(&server)?;
    let script = own.join("churn.lua");
    std::fs::write(&script, lua("")).map_err(|e| e.to_string())?;
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let (mut highest, mut requests) = (idle, 0u64);
    while Instant::now() < end {
        let seconds = end.saturating_duration_since(Instant::now()).as_secs().clamp(1, 20);
        let report = capture(
            Command::new("wrk")
                .args(["-t1", "-c32", &format!("-d{seconds}s"), "-s"])
                .arg(&script)
                .arg(format!("http://{}/", server.address)),
        )?;
        if let Some(failed) = report.lines().find(|l| l.contains("Non-2xx")) {
            return Err(format!("the load failed: {}", failed.trim()));
        }
        requests += report
            .lines()
            .find_map(|l| l.trim().split_once(" requests in ")?.0.parse::<u64>().ok())
            .unwrap_or(0);
        highest = highest.max(resident(&server)?);
    }
    let last = resident(&server)?;
    let cache = Cache::of(&own)?;
    let limit = (cache_mib << 20) as f64;
    let allowed = idle as f64 + AIM * (cache_mib << 10) as f64;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!(
        "cache limit {cache_mib} MiB; {requests} requests in {minutes} minutes; in the end {:.1} MiB in {} answers, {} dropped for \
         changes, {} evicted; resident: started {:.1} MiB, idle after the same requests \
         without the cache {:.1}, highest {:.1}, last {:.1}; allowed {:.1} ({})",
        cache.bytes / f64::from(1 << 20),
        cache.entries,
        cache.dropped,
        cache.evicted,
        mib(started),
        mib(idle),
        mib(highest),
        mib(last),
        allowed / 1024.0,
        if highest as f64 <= allowed { "met" } else { "missed" }
    );
    if cache.bytes < FULL * limit || cache.dropped == 0.0 {
        return Err("the cache was not full, or nothing was dropped: the run says nothing".to_string());
    }
    if highest as f64 <= allowed {
        Ok(())
    } else {
        Err("the process grew beyond its bound".to_string())
    }
}

/// What the server says of its cache.
struct Cache {
    bytes: f64,
    entries: f64,
    dropped: f64,
    evicted: f64,
}

impl Cache {
    /// From the admin listener that the project in `folder` names.
    fn of(folder: &Path) -> Result<Cache, String> {
        let project = std::fs::read_to_string(folder.join("mainstay.toml")).map_err(|e| e.to_string())?;
        let address = project
            .split_once("[admin]\nlisten = \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .ok_or("the project has no admin listener")?
            .0;
        #[allow(
            clippy::disallowed_methods,
            reason = "the figures are brought up to date once a second, and say so to nobody"
        )]
        std::thread::sleep(Duration::from_secs(2));
        let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).map_err(|e| e.to_string())?;
        let read = |name: &str| {
            let value = metrics.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok());
            value.ok_or_else(|| format!("/metrics has no {name}"))
        };
        Ok(Cache {
            bytes: read("mainstay_cache_bytes ")?,
            entries: read("mainstay_cache_entries ")?,
            dropped: read("mainstay_cache_dropped_total ")?,
            evicted: read("mainstay_cache_evicted_total ")?,
        })
    }
}

/// The same reads and writes, none of which is kept: what serving takes belongs to the process and not to its cache.
fn warm(server: &Server, folder: &Path) -> Result<(), String> {
    let script = folder.join("warm.lua");
    std::fs::write(&script, lua("[\"Cache-Control\"] = \"no-cache\"")).map_err(|e| e.to_string())?;
    capture(
        Command::new("wrk")
            .args(["-t1", "-c32", "-d5s", "-s"])
            .arg(&script)
            .arg(format!("http://{}/", server.address)),
    )?;
    Ok(())
}

/// Reads that are rarely alike fill the cache many times over; they look at ranges of keys, and now and then a write adds a row at
/// the end of the table and so drops answers: a few at a time, so that the cache stays full. `header` goes with each read.
fn lua(header: &str) -> String {
    format!(
        "math.randomseed(os.time())\nlocal n = 0\nfunction request()\n  n = n + 1\n  if n % 500 == 0 then\n    \
         return wrk.format(\"POST\", \"/rest/v1/item\", {{[\"Content-Type\"] = \"application/json\"}}, \
         '{{\"name\":\"New\",\"note\":\"churn\",\"price\":1.25,\"stock\":' .. math.random(1, 90) .. '}}')\n  end\n  \
         local from = math.random(1, 10000)\n  local to = from + math.random(30, 3000)\n  \
         return wrk.format(\"GET\", \"/rest/v1/item?select=id,name,note&stock=gte.\" .. math.random(1, 60) .. \
         \"&id=gte.\" .. from .. \"&id=lte.\" .. to .. \"&order=id&limit=\" .. math.random(1, 30), {{{header}}})\nend\n"
    )
}

/// Resident memory in KiB, without the pages of the database file that SQLite maps.
fn resident(server: &Server) -> Result<u64, String> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process()?)).map_err(|e| e.to_string())?;
    let line = |name: &str| {
        status.lines().find_map(|l| {
            l.strip_prefix(name)?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
    };
    line("RssAnon:").ok_or_else(|| "no RssAnon".to_string())
}
