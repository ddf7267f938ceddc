//! The servers and tools that the tests run against. Debian's packages are installed where that is allowed; elsewhere it is
//! said what is missing. What Debian does not have is installed under `target`.
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
    /// From where it comes when it is none of Debian's; it is kept under `target`.
    elsewhere: Option<Elsewhere>,
}

/// Another source than Debian, with the name and version there.
#[derive(Clone, Copy)]
enum Elsewhere {
    /// PyPI, into `target/venv`.
    Pip(&'static str),
    /// crates.io, into `target/tools`.
    Cargo(&'static str),
}

impl Elsewhere {
    /// Where its programs are.
    fn folder(self) -> PathBuf {
        match self {
            Elsewhere::Pip(_) => venv(),
            Elsewhere::Cargo(_) => tools(),
        }
        .join("bin")
    }
}

/// Everything, in the order of messages.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: "C compiler",
        purpose: "builds SQLite",
        programs: &["cc", "gcc", "clang"],
        versions_in: None,
        packages: &["gcc", "libc6-dev"],
        elsewhere: None,
    },
    Engine {
        name: "PostgreSQL",
        purpose: "the reference for answers, and a store",
        programs: &["initdb"],
        versions_in: Some("/usr/lib/postgresql"),
        packages: &["postgresql"],
        elsewhere: None,
    },
    Engine {
        name: "PostGIS",
        purpose: "geometry in PostgreSQL, and GeoJSON of it",
        programs: &["../lib/postgis-3.so"],
        versions_in: Some("/usr/lib/postgresql"),
        packages: &["postgresql-15-postgis-3"],
        elsewhere: None,
    },
    Engine {
        name: "PgBouncer",
        purpose: "PostgreSQL behind a pooler in transaction mode",
        programs: &["pgbouncer"],
        versions_in: None,
        packages: &["pgbouncer"],
        elsewhere: None,
    },
    Engine {
        name: "SQLite shell",
        purpose: "the foreign writer",
        programs: &["sqlite3"],
        versions_in: None,
        packages: &["sqlite3"],
        elsewhere: None,
    },
    Engine {
        name: "Python",
        purpose: "the example's payment service",
        programs: &["python3"],
        versions_in: None,
        packages: &["python3", "python3-venv"],
        elsewhere: None,
    },
    Engine {
        name: "Node",
        purpose: "clients of the dialect, unmodified",
        programs: &["node"],
        versions_in: None,
        packages: &["nodejs"],
        elsewhere: None,
    },
    Engine {
        name: "npm",
        purpose: "fetches those clients",
        programs: &["npm"],
        versions_in: None,
        packages: &["npm"],
        elsewhere: None,
    },
    Engine {
        name: "schemathesis",
        purpose: "holds the API against its description",
        programs: &["schemathesis"],
        versions_in: None,
        packages: &["python3-venv"],
        elsewhere: Some(Elsewhere::Pip("schemathesis==4.32.5")),
    },
    Engine {
        name: "moto",
        purpose: "a stand-in for S3",
        programs: &["moto_server"],
        versions_in: None,
        packages: &["python3-venv"],
        elsewhere: Some(Elsewhere::Pip("moto[server]==5.2.5")),
    },
    Engine {
        name: "cargo-deny",
        purpose: "holds the dependencies against deny.toml",
        programs: &["cargo-deny"],
        versions_in: None,
        packages: &[],
        elsewhere: Some(Elsewhere::Cargo("cargo-deny@0.20.2")),
    },
    Engine {
        name: "nginx",
        purpose: "the peer of the gateway's benchmarks",
        programs: &["nginx"],
        versions_in: None,
        packages: &["nginx-light"],
        elsewhere: None,
    },
    Engine {
        name: "wrk",
        purpose: "load for benchmarks",
        programs: &["wrk"],
        versions_in: None,
        packages: &["wrk"],
        elsewhere: None,
    },
    Engine {
        name: "Chromium",
        purpose: "opens the example's page",
        programs: &["chromium", "chromium-browser", "google-chrome"],
        versions_in: None,
        packages: &["chromium"],
        elsewhere: None,
    },
];

impl Engine {
    /// The engine of that name.
    pub fn named(name: &str) -> Option<&'static Engine> {
        ENGINES.iter().find(|engine| engine.name == name)
    }

    /// Where its program is.
    pub fn program(&self) -> Option<PathBuf> {
        if let Some(elsewhere) = self.elsewhere {
            let mut own = self.programs.iter().map(|name| elsewhere.folder().join(name));
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

/// Where cargo's programs for the tests are.
fn tools() -> PathBuf {
    crate::workspace_root().join("target/tools")
}

/// The task: says what is there and, if `install`, installs what is missing. Fails when something stays missing.
pub fn run(install: bool) -> Result<(), String> {
    if install {
        install_missing()?;
    }
    for engine in ENGINES {
        match engine.program() {
            Some(program) => println!("{:<13} {}", engine.name, program.display()),
            None => {
                let from = match engine.elsewhere {
                    Some(Elsewhere::Pip(what)) => format!("PyPI: {what}"),
                    Some(Elsewhere::Cargo(what)) => format!("crates.io: {what}"),
                    None => format!("Debian: {}", engine.packages.join(" ")),
                };
                println!("{:<13} missing: {}; {from}", engine.name, engine.purpose);
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

/// What is missing.
pub fn missing() -> Vec<&'static Engine> {
    ENGINES.iter().filter(|engine| engine.program().is_none()).collect()
}

/// Installs what is missing.
pub fn install_missing() -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|engine| engine.name).collect();
    println!("installing {}", names.join(", "));
    let packages: Vec<&str> = missing.iter().flat_map(|engine| engine.packages).copied().collect();
    if !packages.is_empty() {
        install_from_debian(&packages).map_err(|error| format!("{}\n({error})", how_to_install(&missing)))?;
    }
    install_from_elsewhere(&missing)
}

/// As root, or through sudo when it asks for no password.
fn install_from_debian(packages: &[&str]) -> Result<(), String> {
    if find(&["apt-get"]).is_none() {
        return Err("there is no apt-get here".to_string());
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
        _ => return Err("only root may install".to_string()),
    };
    keep_the_default_cluster_away(prefix);
    let apt = |arguments: &[&str]| {
        let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q"];
        let words: Vec<&str> = prefix.iter().chain(&environment).chain(arguments).copied().collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        shown(&mut command)
    };
    apt(&["update"])?;
    let mut install = vec![
        "install",
        "--no-install-recommends",
        "-o",
        "Dpkg::Options::=--force-confold",
    ];
    install.extend(packages);
    apt(&install)
}

/// What only pip or cargo has, in folders of their own under `target`.
fn install_from_elsewhere(missing: &[&Engine]) -> Result<(), String> {
    let (mut pip, mut cargo) = (Vec::new(), Vec::new());
    for elsewhere in missing.iter().filter_map(|engine| engine.elsewhere) {
        match elsewhere {
            Elsewhere::Pip(what) => pip.push(what),
            Elsewhere::Cargo(what) => cargo.push(what),
        }
    }
    if !pip.is_empty() {
        shown(Command::new("python3").args(["-m", "venv"]).arg(venv()))?;
        let python = venv().join("bin/python");
        shown(Command::new(python).args(["-m", "pip", "install", "-q"]).args(pip))?;
    }
    if !cargo.is_empty() {
        // A debug build: it is there in a minute and runs for two seconds.
        let install = ["install", "--quiet", "--locked", "--debug", "--root"];
        shown(Command::new("cargo").args(install).arg(tools()).args(cargo))?;
    }
    Ok(())
}

/// Runs an installer; its lines are shown.
fn shown(command: &mut Command) -> Result<(), String> {
    stream(command, Duration::from_secs(900), |line| println!("  {line}"))
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
    let first = match packages.is_empty() {
        true => String::new(),
        false => format!("as root, apt-get install {}; then ", packages.join(" ")),
    };
    format!("missing: {}. On Debian: {first}cargo xtask engines", names.join(", "))
}

/// The user that we run as, from the owner of our own process.
fn user_id() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}
