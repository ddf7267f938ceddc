//! Following an adopted database's schema: told by `NOTIFY`, or noticed by a number that is cheap to ask for.

use crate::introspect::{Change, Introspected, Options, Reload, Watch, introspect, listen};
use crate::server::Server;
use crate::store::PostgresStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_postgres::Client;

/// How often the database is asked without being told.
const EVERY: Duration = Duration::from_secs(2);

/// After a lost connection, and after a schema that could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits for a database's schema to change, on a connection of its own.
pub struct Follower {
    server: Arc<Server>,
    options: Options,
    watch: Watch,
    connected: Option<(Client, mpsc::Receiver<Reload>)>,
}

impl PostgresStore {
    /// Follows the schema from the digest of what is served now.
    pub fn follow(&self, options: Options, digest: u64) -> Follower {
        Follower {
            server: self.server.clone(),
            options,
            watch: Watch::new(digest, EVERY),
            connected: None,
        }
    }
}

impl Follower {
    /// The next schema. Waits as long as it takes: what cannot be read is said in the log and tried again.
    pub async fn changed(&mut self) -> Introspected {
        let name = self.server.config.name.clone();
        loop {
            match self.next().await {
                Ok(found) => return found,
                Err(error) => {
                    mainstay_telemetry::warn!(
                        "schema",
                        "{name}: the schema cannot be followed: {error}; what was read before serves on"
                    );
                    self.connected = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Introspected, String> {
        loop {
            if self.connected.as_ref().is_none_or(|(client, _)| client.is_closed()) {
                let (sender, receiver) = mpsc::channel(1);
                let client = self.server.client_told(Some(sender)).await.map_err(|e| e.to_string())?;
                if !self.server.is_pooled() {
                    listen(&client).await.map_err(|e| e.to_string())?;
                }
                self.connected = Some((client, receiver));
            }
            let Some((client, reloads)) = &mut self.connected else {
                continue;
            };
            if self.watch.changed(client, reloads).await.map_err(|e| e.to_string())? == Change::Schema {
                let found = introspect(client, &self.options).await.map_err(|e| e.to_string())?;
                self.watch.serve(found.digest);
                return Ok(found);
            }
        }
    }
}
