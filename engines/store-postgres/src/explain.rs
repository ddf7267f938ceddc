//! Plans: `EXPLAIN` of the very statements that reads and steps are. A step is planned in a transaction that cannot write; measured
//! it is done, in one that is committed unless it is a dry run.

use crate::failure;
use crate::plan::{Prepared, Ready};
use crate::pool::Pool;
use crate::read::Layout;
use crate::settings::Settings;
use crate::step::{self, Run};
use crate::store::PostgresStore;
use crate::wire::{Batch, Response, cells};
use mainstay_model::{Action, Error, Identity, Representation, Result, Step, Transaction};
use mainstay_store::{Explain, Explanation, Read};
use std::sync::Arc;

impl PostgresStore {
    /// How the database would answer, or did.
    pub(crate) async fn explained(&self, read: Read<'_>, wanted: Explain) -> Result<Explanation> {
        let ready = Ready::of(&self.server, &self.schema, self.generation, &read)?;
        let explain = self.explaining(&ready.main, &read.identity.role, wanted);
        let write = |batch: &mut Batch<'_>, _: bool| {
            self.begin(batch, &ready, &read)?;
            let main = explain.write(batch, read.params, None)?;
            Ok(Layout { main, response: None })
        };
        let bytes_max = self.server.config.answer_bytes_max;
        let asked = self.ask(bytes_max, None, write).await?;
        let (response, layout) = asked.ok_or_else(|| failure::too_large(bytes_max))?;
        Ok(Explanation {
            statements: vec![ready.main.shown(read.params, None)?],
            plan: plan_of(&response, layout.main),
        })
    }

    /// How the database would do each step, or did.
    pub(crate) async fn explained_steps(
        &self,
        transaction: &Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
        wanted: Explain,
    ) -> Result<Vec<Explanation>> {
        let mut found = Vec::with_capacity(transaction.steps.len());
        for (index, step) in transaction.steps.iter().enumerate() {
            if !step.references().is_empty() {
                return Err(Error::unsupported(
                    "what refers to earlier operations has no plan before they are done",
                ));
            }
            if step::is_nothing(step) {
                found.push(Explanation {
                    statements: Vec::new(),
                    plan: String::new(),
                });
                continue;
            }
            let representation = representations.get(index);
            let run = Run::new(self, step, &[], None, &identity.role, representation)?;
            let (statement, params, action) = run.parts();
            let path = self.path(step);
            let planning = Planning {
                explain: &self.explaining(statement, &identity.role, wanted),
                params,
                action,
                settings: Settings {
                    identity: Some(identity),
                    search_path: path.as_deref(),
                    read_only: !wanted.analyze,
                    time_zone: representation.and_then(|r| r.time_zone()),
                    statement_timeout_ms: self.timeout_ms(),
                    traceparent: transaction.traceparent.as_deref(),
                    asynchronous: false,
                },
            };
            let plan = match wanted.analyze {
                true => self.measured(&planning, keeps(transaction, step)).await?,
                false => self.planned(&planning).await?,
            };
            found.push(Explanation {
                statements: vec![statement.shown(params, Some(action))?],
                plan,
            });
        }
        Ok(found)
    }

    fn explaining(&self, statement: &Prepared, role: &str, wanted: Explain) -> Prepared {
        let mut options = Vec::new();
        for (is, name) in [
            (wanted.analyze, "ANALYZE"),
            (wanted.verbose, "VERBOSE"),
            (wanted.settings, "SETTINGS"),
            (wanted.buffers, "BUFFERS"),
            (wanted.wal, "WAL"),
        ] {
            if is {
                options.push(name);
            }
        }
        options.push(if wanted.json { "FORMAT JSON" } else { "FORMAT TEXT" });
        let sql = format!("EXPLAIN ({}) {}", options.join(", "), statement.sql());
        statement.as_explained(&self.server, role, sql)
    }

    async fn planned(&self, planning: &Planning<'_>) -> Result<String> {
        let bytes_max = self.server.config.answer_bytes_max;
        let asked = self
            .ask(bytes_max, None, |batch, _| {
                let main = planning.write(self, batch)?;
                Ok(Layout { main, response: None })
            })
            .await?;
        let (response, layout) = asked.ok_or_else(|| failure::too_large(bytes_max))?;
        Ok(plan_of(&response, layout.main))
    }

    async fn measured(&self, planning: &Planning<'_>, keeps: bool) -> Result<String> {
        let server = &self.server;
        let held = Pool::take(server).await?;
        let bytes_max = server.config.answer_bytes_max;
        let end = if keeps { "COMMIT" } else { "ROLLBACK" };
        let sent = held.connection().send(|batch| {
            batch.plain(server.text("BEGIN"), "BEGIN")?;
            let main = planning.write(self, batch)?;
            batch.plain(server.text(end), end)?;
            Ok(main)
        });
        // What could not be written was not sent.
        let (main, exchange) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                held.release();
                return Err(error);
            }
        };
        let response = exchange.wait().await.map_err(|lost| match keeps {
            true => failure::unknown(lost, bytes_max),
            false => failure::lost(lost, bytes_max),
        })?;
        let Some(error) = response.error() else {
            held.release();
            return Ok(plan_of(&response, main));
        };
        let undone = held
            .connection()
            .send(|batch| batch.plain(server.text("ROLLBACK"), "ROLLBACK"));
        if let Ok((_, exchange)) = undone
            && exchange.wait().await.is_ok()
        {
            held.release();
        }
        Err(failure::failed(error))
    }
}

/// A step's statement on its way to be explained.
struct Planning<'a> {
    explain: &'a Prepared,
    params: &'a [mainstay_model::Value],
    action: &'a Action,
    settings: Settings<'a>,
}

impl Planning<'_> {
    /// Adds it to a batch; says which statement has the plan.
    fn write(&self, store: &PostgresStore, batch: &mut Batch<'_>) -> Result<usize> {
        self.settings.write(batch)?;
        store.pre_request(batch)?;
        self.explain.write(batch, self.params, Some(self.action))
    }
}

/// Whether what is measured may stay. Where the rows touched must be counted first it may not: a plan has none to count.
fn keeps(transaction: &Transaction, step: &Step) -> bool {
    !transaction.dry_run && !step::is_limited(step)
}

fn plan_of(response: &Response, at: usize) -> String {
    let lines: Vec<String> = response
        .rows(at)
        .flat_map(cells)
        .map(|cell| String::from_utf8_lossy(cell.unwrap_or_default()).into_owned())
        .collect();
    lines.join("\n")
}
