//! The thread that owns the file: takes what has gathered, does it in one transaction, and answers after the commit.

use crate::queue::Queue;
use mainstay_bus::BoxFuture;
use mainstay_model::{Error, Result};
use parking_lot::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// So many requests may wait; more are refused.
const WAITING_MAX: usize = 16_384;

/// So many share one commit.
const GROUP_MAX: usize = 256;

/// Answers a request, once it is known whether the group was committed.
type Answer = Box<dyn FnOnce(std::result::Result<(), Error>) + Send>;
/// Told why, if the group could not begin.
type Work = Box<dyn FnOnce(Result<&mut Queue>) -> Answer + Send>;

/// A handle to the thread.
pub(crate) struct Thread {
    sender: Mutex<Option<SyncSender<Work>>>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    /// Starts it; fails if the file cannot be opened.
    pub fn start(open: impl FnOnce() -> Result<Queue> + Send + 'static) -> Result<Thread> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let (opened, opening) = sync_channel(1);
        let handle = std::thread::Builder::new()
            .name("bus".into())
            .spawn(move || match open() {
                Ok(queue) => {
                    let _ = opened.send(Ok(()));
                    run(queue, &receiver);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(|e| Error::internal(format!("the bus' thread could not be started: {e}")))?;
        opening
            .recv()
            .map_err(|_| Error::internal("the bus' thread died at its start"))??;
        Ok(Thread {
            sender: Mutex::new(Some(sender)),
            handle: Mutex::new(Some(handle)),
        })
    }

    /// Does `work` in the next group; its result is returned after the commit.
    pub fn run<'a, T: Send + 'static>(
        &'a self,
        work: impl FnOnce(&mut Queue) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'a, Result<T>> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |queue| {
            let result = queue.and_then(work);
            Box::new(move |committed| {
                // Whoever asked may be gone; the work is done all the same.
                let _ = reply.send(committed.and(result));
            })
        });
        let sent = match &*self.sender.lock() {
            Some(sender) => sender.try_send(work).map_err(|e| match e {
                TrySendError::Full(_) => Error::new("53400", "the embedded bus has too many requests waiting"),
                TrySendError::Disconnected(_) => closed(),
            }),
            None => Err(closed()),
        };
        Box::pin(async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    /// Lets the thread finish what waits, and ends it.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        drop(self.sender.lock().take());
        let handle = self.handle.lock().take();
        Box::pin(async move {
            if let Some(handle) = handle {
                let _ = tokio::task::spawn_blocking(move || handle.join()).await;
            }
        })
    }
}

fn closed() -> Error {
    Error::new("57P03", "the embedded bus is closed")
}

fn run(mut queue: Queue, receiver: &Receiver<Work>) {
    while let Ok(first) = receiver.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = receiver.try_recv()
        {
            group.push(next);
        }
        let begun = queue.begin();
        let one = |work: Work| work(begun.clone().map(|()| &mut queue));
        let answers: Vec<Answer> = group.into_iter().map(one).collect();
        let committed = begun.and_then(|()| queue.commit());
        for answer in answers {
            answer(committed.clone());
        }
    }
    queue.finish();
}
