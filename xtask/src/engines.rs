//! The servers and tools that the tests run against. Debian's packages are installed where that is allowed; elsewhere it is
//! said what is missing.
//!
//! Nothing here is started as a service: the tests start throw-away servers of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{find, is_executable, stream};

/// Something the tests need.
pub struct Engine {
    /// What it is called in messages.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Any one of these programs means that it is there; what PostgreSQL loads is found from where its programs are.
    programs: &'static [&'static str],
    /// A folder of versions, in each of which `bin/` holds the programs (Debian keeps PostgreSQL out of `PATH`).
    versions_in: Option<&'static str>,
    /// Debian's packages for it.
    packages: &'static [&'static str],
    /// What pip calls it, with its version, when it is none of Debian's: it is installed into `target/venv`.
    pip: Option<&'static str>,
    /// Whether a test run without it counts as complete.
    pub optional: bool,
}

/// Everything, in the order of messages.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: "C compiler",
        purpose: "builds SQLite",
        programs: &["cc", "gcc", "clang"],
        versions_in: None,
        packages: &["gcc", "libc6-dev"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "PostgreSQL",
        purpose: "the reference for answers, and a store",
        programs: &["initdb"],
        versions_in: Some("/usr/lib/postgresql"),
        packages: &["postgresql"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "PostGIS",
        purpose: "geometry in PostgreSQL, and GeoJSON of it",
        programs: &["../lib/postgis-3.so"],
        versions_in: Some("/usr/lib/postgresql"),
        packages: &["postgresql-15-postgis-3"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "PgBouncer",
        purpose: "PostgreSQL behind a pooler in transaction mode",
        programs: &["pgbouncer"],
        versions_in: None,
        packages: &["pgbouncer"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "SQLite shell",
        purpose: "the foreign writer",
        programs: &["sqlite3"],
        versions_in: None,
        packages: &["sqlite3"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "Python",
        purpose: "the example's payment service",
        programs: &["python3"],
        versions_in: None,
        packages: &["python3", "python3-venv"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "Node",
        purpose: "clients of the dialect, unmodified",
        programs: &["node"],
        versions_in: None,
        packages: &["nodejs"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "npm",
        purpose: "fetches those clients",
        programs: &["npm"],
        versions_in: None,
        packages: &["npm"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "schemathesis",
        purpose: "holds the API against its description",
        programs: &["schemathesis"],
        versions_in: None,
        packages: &["python3-venv"],
        pip: Some("schemathesis==4.32.5"),
        optional: false,
    },
    Engine {
        name: "moto",
        purpose: "a stand-in for S3",
        programs: &["moto_server"],
        versions_in: None,
        packages: &["python3-venv"],
        pip: Some("moto[server]==5.2.5"),
        optional: false,
    },
    Engine {
        name: "nginx",
        purpose: "the peer of the gateway's benchmarks",
        programs: &["nginx"],
        versions_in: None,
        packages: &["nginx-light"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "wrk",
        purpose: "load for benchmarks",
        programs: &["wrk"],
        versions_in: None,
        packages: &["wrk"],
        pip: None,
        optional: false,
    },
    Engine {
        name: "Chromium",
        purpose: "opens the example's page",
        programs: &["chromium", "chromium-browser", "google-chrome"],
        versions_in: None,
        packages: &["chromium"],
        pip: None,
        optional: true,
    },
];

impl Engine {
    /// Where its program is.
    pub fn program(&self) -> Option<PathBuf> {
        if self.pip.is_some() {
            let mut own = self.programs.iter().map(|name| venv().join("bin").join(name));
            return own.find(|program| is_executable(program));
        }
        find(self.programs).or_else(|| self.newest_version(Path::new(self.versions_in?)))
    }

    fn newest_version(&self, folder: &Path) -> Option<PathBuf> {
        let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(folder)
            .ok()?
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
            .collect();
        versions.sort();
        let programs = versions
            .iter()
            .rev()
            .flat_map(|(_, path)| self.programs.iter().map(|name| path.join("bin").join(name)));
        let is_there = |path: &PathBuf| match path.extension() {
            Some(extension) if extension == "so" => path.is_file(),
            _ => is_executable(path),
        };
        programs.into_iter().find(is_there)
    }
}

/// Where Python's programs for the tests are.
fn venv() -> PathBuf {
    crate::workspace_root().join("target/venv")
}

/// The task: says what is there and, if `install`, installs what is missing. Fails when something that is not optional stays
/// missing.
pub fn run(install: bool) -> Result<(), String> {
    if install {
        install_missing()?;
    }
    for engine in ENGINES {
        match engine.program() {
            Some(program) => println!("{:<13} {}", engine.name, program.display()),
            None => {
                let kind = if engine.optional {
                    "missing (optional)"
                } else {
                    "missing"
                };
                println!(
                    "{:<13} {kind}: {}; Debian: {}",
                    engine.name,
                    engine.purpose,
                    engine.packages.join(" ")
                );
            }
        }
    }
    let missing = missing();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(how_to_install(&missing))
    }
}

/// What is missing and not optional.
pub fn missing() -> Vec<&'static Engine> {
    ENGINES
        .iter()
        .filter(|engine| !engine.optional && engine.program().is_none())
        .collect()
}

/// Installs what is missing and not optional, as root or through sudo when it asks for no password.
pub fn install_missing() -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|engine| engine.name).collect();
    println!("installing {}", names.join(", "));
    if find(&["apt-get"]).is_none() {
        return Err(format!("{}\n(there is no apt-get here)", how_to_install(&missing)));
    }
    let prefix: &[&str] = match user_id() {
        Some(0) => &[],
        _ if Command::new("sudo")
            .args(["-n", "true"])
            .output()
            .is_ok_and(|output| output.status.success()) =>
        {
            &["sudo", "-n"]
        }
        _ => return Err(how_to_install(&missing)),
    };
    keep_the_default_cluster_away(prefix);
    let apt = |arguments: &[&str]| {
        let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q"];
        let words: Vec<&str> = prefix.iter().chain(&environment).chain(arguments).copied().collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        stream(&mut command, Duration::from_secs(900), |line| println!("  {line}"))
    };
    apt(&["update"])?;
    let mut install = vec![
        "install",
        "--no-install-recommends",
        "-o",
        "Dpkg::Options::=--force-confold",
    ];
    install.extend(missing.iter().flat_map(|engine| engine.packages));
    apt(&install)?;
    install_with_pip(&missing)
}

/// What only pip has, in an environment of its own.
fn install_with_pip(missing: &[&Engine]) -> Result<(), String> {
    let wanted: Vec<&str> = missing.iter().filter_map(|engine| engine.pip).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let run = |command: &mut Command| stream(command, Duration::from_secs(600), |line| println!("  {line}"));
    run(Command::new("python3").args(["-m", "venv"]).arg(venv()))?;
    run(Command::new(venv().join("bin/python"))
        .args(["-m", "pip", "install", "-q"])
        .args(wanted))
}

/// Debian would otherwise make and start a database server of its own when the package is installed.
fn keep_the_default_cluster_away(prefix: &[&str]) {
    let script = "test -e /etc/postgresql-common/createcluster.conf || \
        { mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf; }";
    let words: Vec<&str> = prefix.iter().copied().chain(["sh", "-c", script]).collect();
    // When this fails the server is merely started for nothing.
    let _ = Command::new(words[0]).args(&words[1..]).status();
}

fn how_to_install(missing: &[&Engine]) -> String {
    let names: Vec<&str> = missing.iter().map(|engine| engine.name).collect();
    let packages: Vec<&str> = missing.iter().flat_map(|engine| engine.packages).copied().collect();
    format!(
        "missing: {}. On Debian, as root: apt-get install {}",
        names.join(", "),
        packages.join(" ")
    )
}

/// The user that we run as, from the owner of our own process.
fn user_id() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}
