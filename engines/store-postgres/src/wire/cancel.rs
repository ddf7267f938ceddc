//! Has the server stop what a connection is doing: a connection of its own that says so, as the protocol has it.

use super::connect::socket;
use super::tls::Tls;
use crate::address::Host;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What names the connection whose query is to stop.
pub(super) struct Cancel {
    pub host: Host,
    pub key: (i32, i32),
    pub tls: Tls,
}

impl Cancel {
    /// Has the server stop what a connection is doing.
    pub(super) async fn send(self: Arc<Self>) {
        let cancelled = async {
            let mut socket = socket(&self.host, &self.tls).await.ok()?;
            let mut request = BytesMut::new();
            frontend::cancel_request(self.key.0, self.key.1, &mut request);
            socket.write_all(&request).await.ok()?;
            socket.flush().await.ok()?;
            // The server closes when it has done so. A pooler may not survive that the other side does first (PgBouncer 1.18).
            socket.read_u8().await.ok()
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), cancelled).await;
    }
}
