//! `mainstay serve`: from a project to a process that answers, and back down again.

use crate::cli::Serve;
use crate::instance::Instance;
use crate::output;
use crate::project::{self, Problems};
use mainstay_config::project::{LogFormat, LogLevel};
use std::fmt::Display;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves until SIGTERM, SIGINT or SIGHUP; a second one cuts off what is under way.
pub fn run(options: Serve) -> Result<(), Box<dyn Display>> {
    let fail = |text: String| Box::new(text) as Box<dyn Display>;
    let mut overrides = options.set.clone();
    overrides.extend(options.listen.iter().map(|a| format!("gateway.listen={a}")));
    overrides.extend(options.admin.iter().map(|a| format!("admin.listen={a}")));
    let loaded =
        project::load(&options.dir, &overrides).map_err(|p| Box::new(as_typed(p, &options)) as Box<dyn Display>)?;
    log(&loaded.project.log);
    for warning in loaded.warnings.iter().chain(&loaded.notes) {
        mainstay_telemetry::warn!("serve", "{warning}");
    }
    let untranslatable = crate::translation::untranslatable(&loaded.project, &loaded.schema);
    if !untranslatable.tables.is_empty() {
        return Err(Box::new(project::Problems(untranslatable.tables)));
    }
    for problem in untranslatable.others.iter().chain(&loaded.unkept) {
        // Served all the same: whoever calls it is told, and everything else works.
        mainstay_telemetry::warn!("serve", "{problem}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| fail(format!("no runtime could be started: {e}")))?;
    let drain = loaded.project.gateway.drain;
    let served = runtime.block_on(async {
        let mut signals = Signals::new().map_err(|e| fail(e.to_string()))?;
        // Nobody waits for it: what is there is served.
        let project = loaded.project.clone();
        tokio::spawn(async move { behind(&project).await });
        let instance = Instance::start(loaded, &options).await.map_err(fail)?;
        let ready = async {
            instance.ready().await;
            // The one line on standard output: whoever started us may begin.
            if let Err(why) = output::announce(format_args!("ready {}", instance.url())) {
                // Whoever was to read it is gone, or has no room: it is served all the same.
                mainstay_telemetry::warn!(
                    "serve",
                    "the line \"ready\" cannot be written to standard output: {why}"
                );
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = ready => {}
            () = signals.next() => {}
        }
        tokio::select! {
            () = instance.stop(drain) => {}
            () = signals.next() => mainstay_telemetry::warn!("serve", "told to end a second time: what is under way is cut off"),
        }
        mainstay_telemetry::flush();
        Ok(())
    });
    // A delivery that was cut off does not hold up the end.
    runtime.shutdown_background();
    served
}

/// What a process is told to end by: SIGTERM, SIGINT, and SIGHUP when its terminal goes.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        let [terminate, interrupt, hangup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Ok(Signals([signal(terminate)?, signal(interrupt)?, signal(hangup)?]))
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        let Signals([terminate, interrupt, hangup]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Problems of `--listen` and `--admin` by these names, not by those of the keys that they stand for.
fn as_typed(mut problems: Problems, options: &Serve) -> Problems {
    for (given, key, option) in [
        (
            options.listen.is_some(),
            "--set gateway.listen: [gateway] listen: ",
            "--listen: ",
        ),
        (
            options.admin.is_some(),
            "--set admin.listen: [admin] listen: ",
            "--admin: ",
        ),
    ] {
        for line in problems.0.iter_mut().filter(|_| given) {
            if let Some(rest) = line.strip_prefix(key) {
                *line = format!("{option}{rest}");
            }
        }
    }
    problems
}

/// Says which databases lack statements of their DDL: what is missing there is answered with the database's own errors.
async fn behind(project: &mainstay_config::Project) {
    for (store, pending) in crate::migrate::pending(project).await {
        match pending {
            Ok(0) => {}
            Ok(n) => mainstay_telemetry::warn!(
                "serve",
                "store \"{store}\" is behind its DDL by {n} statements: `mainstay migrate plan` shows them, `mainstay migrate apply` runs them"
            ),
            Err(why) => mainstay_telemetry::warn!("serve", "store \"{store}\" cannot be compared with its DDL: {why}"),
        }
    }
}

fn log(config: &mainstay_config::project::Log) {
    mainstay_telemetry::install(mainstay_telemetry::Config {
        level: match config.level {
            LogLevel::Error => mainstay_telemetry::Level::Error,
            LogLevel::Warn => mainstay_telemetry::Level::Warn,
            LogLevel::Info => mainstay_telemetry::Level::Info,
            LogLevel::Debug | LogLevel::Trace => mainstay_telemetry::Level::Debug,
        },
        format: match config.format {
            LogFormat::Auto => mainstay_telemetry::Format::Auto,
            LogFormat::Text => mainstay_telemetry::Format::Text,
            LogFormat::Json => mainstay_telemetry::Format::Json,
        },
        access_log: config.access,
        ..mainstay_telemetry::Config::default()
    });
}
