//! Memory under churn: the cache filled over and over with answers that writes keep dropping. Not a ratio: a bound.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::mainstay::{self, Extras};
use super::process::Folder;
use super::{Place, Server};
use crate::command::capture;

/// The cache's limit, in MiB.
const CACHE_MIB: u64 = 64;

/// What the process may hold beyond its idle size, as a multiple of the cache's limit.
const AIM: f64 = 1.15;

/// Runs the load for so many minutes and prints idle, highest and last resident memory. Fails when the bound is passed.
pub fn run(root: &Path, minutes: f64) -> Result<(), String> {
    let folder = Folder::new("churn")?;
    let own = folder.inside("0")?;
    let place = Place {
        root,
        core: 1,
        folder: &own,
    };
    let server = mainstay::start(&place, Extras::Off, &format!("[cache]\nmemory = \"{CACHE_MIB}MiB\"\n"))?;
    // A thread's own connection, statements and buffers belong to the idle process: one request makes them.
    warm(&server, &own)?;
    let idle = resident(&server)?;
    let script = own.join("churn.lua");
    // Reads that are rarely alike, enough to fill the cache, and now and then a write that drops some of the answers.
    let lua = "math.randomseed(os.time())\nlocal n = 0\nfunction request()\n  n = n + 1\n  if n % 200 == 0 then\n    \
               return wrk.format(\"POST\", \"/rest/v1/item\", {[\"Content-Type\"] = \"application/json\"}, \
               '{\"name\":\"New\",\"note\":\"churn\",\"price\":1.25,\"stock\":' .. math.random(1, 90) .. '}')\n  end\n  \
               return wrk.format(\"GET\", \"/rest/v1/item?select=id,name,note&stock=eq.\" .. math.random(1, 90) .. \
               \"&id=gte.\" .. math.random(1, 10000) .. \"&order=id&limit=\" .. math.random(1, 30))\nend\n";
    std::fs::write(&script, lua).map_err(|e| e.to_string())?;
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
        requests += report
            .lines()
            .find_map(|l| l.trim().strip_suffix("read")?.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0);
        highest = highest.max(resident(&server)?);
    }
    let last = resident(&server)?;
    let allowed = idle as f64 + AIM * (CACHE_MIB << 10) as f64;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!(
        "cache limit {CACHE_MIB} MiB; {requests} requests in {minutes} minutes; resident: idle {:.1} MiB, highest {:.1}, last {:.1}; allowed {:.1} ({})",
        mib(idle),
        mib(highest),
        mib(last),
        allowed / 1024.0,
        if highest as f64 <= allowed { "met" } else { "missed" }
    );
    if highest as f64 <= allowed {
        Ok(())
    } else {
        Err("the process grew beyond its bound".to_string())
    }
}

fn warm(server: &Server, folder: &Path) -> Result<(), String> {
    let script = folder.join("warm.lua");
    std::fs::write(&script, "wrk.path = \"/rest/v1/item?limit=1\"\n").map_err(|e| e.to_string())?;
    capture(
        Command::new("wrk")
            .args(["-t1", "-c32", "-d1s", "-s"])
            .arg(&script)
            .arg(format!("http://{}/", server.address)),
    )?;
    Ok(())
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
