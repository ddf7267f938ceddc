//! A connection for one answer alone, read message by message by the one who wants it: where nobody reads on, the server stops sending.
//! Given up before the end, what the server was doing is cancelled.

use super::batch::{Batch, Statements};
use super::connect::Opened;
use super::driver::{BLOCK_BYTES, Cancel, READ_BYTES};
use super::queue::Lost;
use super::tls::Tls;
use bytes::{Buf, BytesMut};
use mainstay_model::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A connection of one's own.
pub(crate) struct Single {
    opened: Opened,
    cancel: Arc<Cancel>,
    /// Bytes of the input that were given out.
    used: usize,
    /// The server waits for the next request.
    idle: bool,
    limits: SingleLimits,
}

/// How long and how much.
#[derive(Clone, Copy)]
pub(crate) struct SingleLimits {
    /// The longest that the server may send nothing while it is listened to; zero is for ever.
    pub silence: Duration,
    /// The largest message, in bytes: a row.
    pub message_bytes_max: usize,
}

/// Why there is no next message.
pub(crate) enum Ended {
    /// The connection went, or a message was too large.
    Lost(Lost),
    /// The server sent nothing for too long.
    Silent,
}

impl Single {
    pub fn new(opened: Opened, tls: Tls, limits: SingleLimits) -> Single {
        let cancel = Arc::new(Cancel {
            host: opened.host.clone(),
            key: opened.key,
            tls,
        });
        Single {
            opened,
            cancel,
            used: 0,
            idle: true,
            limits,
        }
    }

    /// Sends a batch.
    pub async fn send<T>(
        &mut self,
        write: impl FnOnce(&mut Batch<'_>) -> Result<T>,
    ) -> Result<std::result::Result<T, Lost>> {
        let mut out = BytesMut::new();
        // Without names: nothing is prepared for a second time.
        let mut statements = Statements::new(0, false);
        let mut batch = Batch::new(&mut out, &mut statements);
        let value = write(&mut batch)?;
        batch.finish();
        self.idle = false;
        let socket = &mut self.opened.socket;
        let sent = async {
            socket.write_all(&out).await?;
            socket.flush().await
        };
        Ok(match sent.await {
            Ok(()) => Ok(value),
            Err(error) => Err(Lost::Connection(error.to_string(), None)),
        })
    }

    /// The next message: its tag and its body.
    pub async fn next(&mut self) -> std::result::Result<(u8, &[u8]), Ended> {
        let lost = |why: String| Ended::Lost(Lost::Connection(why, None));
        let Opened { socket, input, .. } = &mut self.opened;
        input.advance(self.used);
        self.used = 0;
        loop {
            if let Some(head) = input.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if length < 4 {
                    return Err(lost("the answer is not PostgreSQL's".to_owned()));
                }
                if length > self.limits.message_bytes_max {
                    return Err(Ended::Lost(Lost::TooLarge));
                }
                if input.len() > length {
                    break;
                }
                input.reserve(length + 1 - input.len());
            }
            if input.capacity() - input.len() < READ_BYTES {
                input.reserve(BLOCK_BYTES);
            }
            let silence = self.limits.silence;
            let read = socket.read_buf(input);
            let read = match silence.is_zero() {
                true => read.await,
                false => tokio::time::timeout(silence, read).await.map_err(|_| Ended::Silent)?,
            };
            match read {
                Ok(0) => return Err(lost("the server closed the connection".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(lost(error.to_string())),
            }
        }
        let length = u32::from_be_bytes([input[1], input[2], input[3], input[4]]) as usize;
        self.used = length + 1;
        // After an error nothing runs any more, though the server has yet to say that it is ready.
        self.idle |= matches!(input[0], b'Z' | b'E');
        Ok((input[0], &input[5..self.used]))
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        // The server would notice only when it sends again, which a long sort does not.
        if !self.idle
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(self.cancel.clone().send());
        }
    }
}
