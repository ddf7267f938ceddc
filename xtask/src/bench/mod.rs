//! `cargo xtask bench`: CPU-microseconds per request of a server, as a ratio against peers in the same run.
//!
//! Wall-clock figures on a shared machine prove nothing, and even CPU figures drift by a factor of two between cores. So
//! everything (load, server, upstream) is pinned to one core; the peers of a case take turns, A B A B; what counts is the median
//! of the ratios *within* a round. Before each measurement the answer is fetched once and checked: a fast error is no result.
//!
//! [`cases`] lists what is measured; this file is the frame.

mod cases;
pub mod churn;
mod errands;
mod mainstay;
mod measure;
mod postgres;
mod process;

use std::path::Path;

pub use measure::{Answer, Load};
pub use process::Server;

/// One question: which of these servers needs how much for the same answer?
pub struct Case {
    /// Selects the case on the command line.
    pub name: &'static str,
    /// What is requested, and what is switched on (authentication, limits, access log): printed above the table.
    pub about: String,
    /// Requests that are open at once.
    pub connections: u32,
    /// What is compared.
    pub by: By,
    /// The first one is what the others are measured against.
    pub peers: Vec<Peer>,
}

/// What a ratio is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum By {
    /// CPU time per request, of the server and the database it asks: less is better.
    Cpu,
    /// Requests in a second of the core that server and database share: more is better. It is taken from their CPU time, so that what
    /// else runs on the core does not matter. pgbench stands in the server's place: what it uses counts as the server's.
    Rate,
}

/// One server of a case.
pub struct Peer {
    /// As the table calls it.
    pub name: &'static str,
    /// The ratio to the first peer that it should stay within, or reach.
    pub aim: Option<f64>,
    /// Starts it, pinned to the core that is given, and returns when it answers. It is stopped when it is dropped.
    pub start: Start,
    /// What is asked of it, over and over.
    pub load: Load,
    /// Says what is wrong with an answer, if anything is.
    pub check: fn(&Answer) -> Result<(), String>,
}

/// How a peer is started.
pub type Start = Box<dyn Fn(&Place<'_>) -> Result<Server, String>>;

/// Where a peer runs.
pub struct Place<'p> {
    /// The project's root; release binaries are in its `target/release`.
    #[allow(dead_code, reason = "for cases that run our own binaries")]
    pub root: &'p Path,
    /// The processor core for everything.
    pub core: u32,
    /// A folder of its own for configuration and data, removed afterwards.
    pub folder: &'p Path,
}

/// How long and how often.
struct Settings {
    core: u32,
    rounds: usize,
    seconds: u32,
    names: Vec<String>,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Sample {
    server_us: f64,
    database_us: f64,
    load_us: f64,
    requests_per_second: f64,
}

impl Sample {
    /// What the peers are compared by.
    fn value(&self, by: By) -> f64 {
        let answered = self.server_us + self.database_us;
        match by {
            By::Cpu => answered,
            By::Rate => 1_000_000.0 / answered,
        }
    }
}

/// The task. Fails when a case cannot be measured; a missed aim is marked in the table.
pub fn run(root: &Path, options: &[&str]) -> Result<(), String> {
    let settings = parse(options)?;
    let all = cases::all(root);
    if let Some(unknown) = settings.names.iter().find(|name| {
        !all.iter().any(|case| case.name == *name) && !errands::ALL.iter().any(|errand| errand.name == *name)
    }) {
        let errands = errands::ALL.iter().map(|errand| errand.name);
        let known: Vec<&str> = all.iter().map(|case| case.name).chain(errands).collect();
        return Err(format!("no case is called {unknown}; there are {}", known.join(", ")));
    }
    println!(
        "CPU-microseconds of the server process per request; everything on core {}; medians of {} interleaved rounds of {} s.",
        settings.core, settings.rounds, settings.seconds
    );
    let mut failures = Vec::new();
    let is_wanted = |name: &str| settings.names.is_empty() || settings.names.iter().any(|wanted| wanted == name);
    for case in all.iter().filter(|case| is_wanted(case.name)) {
        match measure_case(root, case, &settings) {
            Ok(samples) => println!("\n### {}\n\n{}\n\n{}", case.name, case.about, table(case, &samples)),
            Err(reason) => {
                eprintln!("\n### {}\n\nnot measured: {reason}", case.name);
                failures.push(case.name);
            }
        }
    }
    for errand in errands::ALL.iter().filter(|errand| is_wanted(errand.name)) {
        match (errand.run)(root, settings.core, settings.rounds) {
            Ok(text) => println!("\n### {}\n\n{text}", errand.name),
            Err(reason) => {
                eprintln!("\n### {}\n\nnot measured: {reason}", errand.name);
                failures.push(errand.name);
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(format!("not measured: {}", failures.join(", ")))
    }
}

fn parse(options: &[&str]) -> Result<Settings, String> {
    let mut settings = Settings {
        core: 1,
        rounds: 7,
        seconds: 3,
        names: Vec::new(),
    };
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix("--") else {
            settings.names.push(word.to_string());
            continue;
        };
        let number: u32 = words
            .next()
            .and_then(|text| text.parse().ok())
            .ok_or(format!("--{option} needs a number"))?;
        match option {
            "core" => settings.core = number,
            "rounds" => settings.rounds = number.max(1) as usize,
            "seconds" => settings.seconds = number.max(1),
            _ => return Err(format!("bench has no option --{option}")),
        }
    }
    Ok(settings)
}

/// The samples of each peer, round by round.
fn measure_case(root: &Path, case: &Case, settings: &Settings) -> Result<Vec<Vec<Sample>>, String> {
    let folder = process::Folder::new(case.name)?;
    let mut servers = Vec::new();
    for (index, peer) in case.peers.iter().enumerate() {
        let own = folder.inside(&index.to_string())?;
        let place = Place {
            root,
            core: settings.core,
            folder: &own,
        };
        servers.push((peer.start)(&place).map_err(|reason| format!("{}: {reason}", peer.name))?);
    }
    let mut samples = vec![Vec::new(); case.peers.len()];
    // The first round warms caches, connections and branch predictors, and is thrown away.
    for round in 0..=settings.rounds {
        for (index, (peer, server)) in case.peers.iter().zip(&servers).enumerate() {
            let say = |reason: String| format!("{}: {reason}", peer.name);
            if peer.load.pgbench.is_none() {
                let answer = measure::fetch(server, &peer.load).map_err(say)?;
                (peer.check)(&answer).map_err(say)?;
            }
            let seconds = if round == 0 { 1 } else { settings.seconds };
            let script = folder.path().join(format!("{index}.lua"));
            let run = measure::Run {
                core: settings.core,
                seconds,
                connections: case.connections,
                script: &script,
            };
            let own = std::process::id();
            let (before, load_before) = (server.used()?, process::ended_cpu_us(own));
            let requests = measure::load(server, &peer.load, &run).map_err(say)?;
            // A database's processes take a moment to end, and only then are they counted with their parent.
            std::thread::park_timeout(process::SETTLES);
            let (used, load_used) = (server.used()?, process::ended_cpu_us(own) - load_before);
            let each = |us: f64| us / requests.max(1) as f64;
            // pgbench is client and load in one.
            let (server, load) = match peer.load.pgbench {
                Some(_) => (load_used, 0.0),
                None => (used.server - before.server, load_used),
            };
            if round > 0 {
                samples[index].push(Sample {
                    server_us: each(server),
                    database_us: each(used.database - before.database),
                    load_us: each(load),
                    requests_per_second: requests as f64 / f64::from(seconds),
                });
            }
        }
    }
    Ok(samples)
}

/// The result as a table for a document.
fn table(case: &Case, samples: &[Vec<Sample>]) -> String {
    let mut text = match case.by {
        By::Cpu => "| Server | CPU-µs per request | lowest – highest | ratio | aim | requests/s |\n|---|---|---|---|---|---|\n",
        By::Rate => {
            "| Server | CPU-µs: server | database | load | requests per second of the core | share | aim | requests/s |\n\
             |---|---|---|---|---|---|---|---|\n"
        }
    }
    .to_string();
    for (index, peer) in case.peers.iter().enumerate() {
        let own = &samples[index];
        let all = |of: &dyn Fn(&Sample) -> f64| -> Vec<f64> { own.iter().map(of).collect() };
        let mut values = all(&|sample| sample.value(case.by));
        let ratios = own
            .iter()
            .zip(&samples[0])
            .map(|(own, first)| own.value(case.by) / first.value(case.by));
        let ratio = median(ratios.collect());
        let aim = match (peer.aim, case.by) {
            (None, _) => String::new(),
            (Some(aim), By::Cpu) if ratio <= aim => format!("≤ {aim:.2} met"),
            (Some(aim), By::Cpu) => format!("≤ {aim:.2} **missed**"),
            (Some(aim), By::Rate) if ratio >= aim => format!("≥ {aim:.2} met"),
            (Some(aim), By::Rate) => format!("≥ {aim:.2} **missed**"),
        };
        values.sort_by(f64::total_cmp);
        let (low, high) = (
            values.first().copied().unwrap_or_default(),
            values.last().copied().unwrap_or_default(),
        );
        let rate = median(all(&|sample| sample.requests_per_second));
        let name = peer.name;
        text += &match case.by {
            By::Cpu => format!(
                "| {name} | {:.2} | {low:.2} – {high:.2} | {ratio:.2} | {aim} | {rate:.0} |\n",
                median(values)
            ),
            By::Rate => format!(
                "| {name} | {:.1} | {:.1} | {:.1} | {:.0} | {ratio:.2} | {aim} | {rate:.0} |\n",
                median(all(&|sample| sample.server_us)),
                median(all(&|sample| sample.database_us)),
                median(all(&|sample| sample.load_us)),
                median(values)
            ),
        };
    }
    text.trim_end().to_string()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => (values[length / 2 - 1] + values[length / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let peer = |name, aim| Peer {
            name,
            aim,
            start: Box::new(|_| Err("not started".to_string())),
            load: Load::get("/"),
            check: |_| Ok(()),
        };
        let case = Case {
            name: "x",
            about: String::new(),
            connections: 1,
            by: By::Cpu,
            peers: vec![
                peer("first", None),
                peer("second", Some(1.25)),
                peer("third", Some(1.25)),
            ],
        };
        let samples = |values: [f64; 3]| {
            values
                .map(|cpu| Sample {
                    server_us: cpu / 2.0,
                    database_us: cpu / 2.0,
                    load_us: 1.0,
                    requests_per_second: 10.0,
                })
                .to_vec()
        };
        // The machine doubled its speed in the last round: the medians of the columns would say 1.0 for the second peer.
        let text = table(
            &case,
            &[
                samples([2.0, 2.0, 1.0]),
                samples([2.4, 2.4, 1.2]),
                samples([3.0, 3.0, 1.5]),
            ],
        );
        assert!(text.contains("| first | 2.00 | 1.00 – 2.00 | 1.00 |  | 10 |"), "{text}");
        assert!(
            text.contains("| second | 2.40 | 1.20 – 2.40 | 1.20 | ≤ 1.25 met | 10 |"),
            "{text}"
        );
        assert!(
            text.contains("| third | 3.00 | 1.50 – 3.00 | 1.50 | ≤ 1.25 **missed** | 10 |"),
            "{text}"
        );
    }

    #[test]
    fn options() {
        let settings = parse(&["noise", "--core", "0", "--rounds", "3", "--seconds", "2"]).expect("options");
        assert_eq!((settings.core, settings.rounds, settings.seconds), (0, 3, 2));
        assert_eq!(settings.names, ["noise"]);
        assert!(parse(&["--core"]).is_err());
        assert!(parse(&["--speed", "3"]).is_err());
    }
}
