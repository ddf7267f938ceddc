//! Where passwords are hashed: a few threads of their own and a bounded queue before them. A worker that serves requests never
//! hashes, and a flood of logins costs these threads and no more.

use crate::fault::{Fault, Result};
use crate::password;
use argon2::Block;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The pool. Its threads end when it is dropped.
pub(crate) struct Hasher {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: usize,
    waiting_max: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that hash; one that was only just woken counts as free.
    busy: usize,
    closed: bool,
}

enum Job {
    Hash(String, oneshot::Sender<Result<String, String>>),
    Verify(String, Option<String>, oneshot::Sender<Result<bool, String>>),
}

impl Hasher {
    /// Hashes `threads` passwords at once, lets `waiting_max` more wait.
    pub fn new(threads: usize, waiting_max: usize) -> io::Result<Hasher> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            threads,
            waiting_max: waiting_max.max(1),
        });
        let hasher = Hasher { shared };
        for number in 0..threads {
            let shared = hasher.shared.clone();
            std::thread::Builder::new()
                .name(format!("mainstay-hash-{number}"))
                .stack_size(256 * 1024)
                .spawn(move || shared.work())?;
        }
        Ok(hasher)
    }

    /// A password's hash, as a PHC string. Errors: 503 when too many wait already.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let (done, result) = oneshot::channel();
        self.submit(Job::Hash(password.to_owned(), done))?;
        finished(result.await)
    }

    /// Whether the password has this hash; without one the same time passes. Errors: 503 when too many wait already.
    pub async fn verify(&self, password: &str, phc: Option<&str>) -> Result<bool> {
        let (done, result) = oneshot::channel();
        self.submit(Job::Verify(password.to_owned(), phc.map(str::to_owned), done))?;
        finished(result.await)
    }

    fn submit(&self, job: Job) -> Result<()> {
        let mut queue = self.shared.lock();
        let room = |queue: &Queue| queue.busy + queue.jobs.len() < self.shared.threads + self.shared.waiting_max;
        if !room(&queue) {
            // Whoever has gone away makes room.
            queue.jobs.retain(|job| !job.abandoned());
        }
        if !room(&queue) {
            return Err(Fault::new(
                503,
                "over_capacity",
                format!(
                    "{} passwords wait to be hashed, which is the limit; try again",
                    self.shared.waiting_max
                ),
            )
            .header(RETRY_AFTER, HeaderValue::from_static("1")));
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Job {
    fn abandoned(&self) -> bool {
        match self {
            Job::Hash(_, done) => done.is_closed(),
            Job::Verify(_, _, done) => done.is_closed(),
        }
    }

    fn run(self, memory: &mut Vec<Block>) {
        match self {
            Job::Hash(password, done) => drop(done.send(password::hash(&password, memory))),
            Job::Verify(password, phc, done) => {
                drop(done.send(password::verify(&password, phc.as_deref(), memory)));
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut memory = Vec::new();
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return;
            }
            match queue.jobs.pop_front() {
                Some(job) if job.abandoned() => {}
                Some(job) => {
                    queue.busy += 1;
                    drop(queue);
                    job.run(&mut memory);
                    queue = self.lock();
                    queue.busy -= 1;
                }
                // The 19 MiB are worth keeping while there is a queue, and no longer.
                None if !memory.is_empty() => {
                    drop(queue);
                    memory = Vec::new();
                    queue = self.lock();
                }
                None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

fn finished<T>(result: std::result::Result<Result<T, String>, oneshot::error::RecvError>) -> Result<T> {
    let why = match result {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(why)) => why,
        Err(_) => "the hashing thread is gone".to_owned(),
    };
    mainstay_telemetry::error!("account", "a password could not be hashed: {why}");
    Err(Fault::new(
        500,
        "unexpected_failure",
        "Unexpected failure, please check server logs for more information",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    #[test]
    fn what_it_hashes_it_verifies() {
        let hasher = Hasher::new(2, 8).expect("threads");
        wait(async {
            let phc = hasher.hash("password").await.expect("hashes");
            assert!(hasher.verify("password", Some(&phc)).await.expect("verifies"));
            assert!(!hasher.verify("passw0rd", Some(&phc)).await.expect("verifies"));
            assert!(!hasher.verify("password", None).await.expect("verifies"));
        });
    }

    #[test]
    fn an_unknown_user_costs_what_a_wrong_password_costs() {
        let hasher = Hasher::new(1, 8).expect("threads");
        wait(async {
            let phc = hasher.hash("password").await.expect("hashes");
            let (mut wrong, mut unknown) = (Duration::MAX, Duration::MAX);
            for _ in 0..5 {
                let began = Instant::now();
                hasher.verify("wrong", Some(&phc)).await.expect("verifies");
                wrong = wrong.min(began.elapsed());
                let began = Instant::now();
                hasher.verify("wrong", None).await.expect("verifies");
                unknown = unknown.min(began.elapsed());
            }
            let ratio = unknown.as_secs_f64() / wrong.as_secs_f64();
            assert!((0.5..2.0).contains(&ratio), "{unknown:?} against {wrong:?}");
        });
    }

    #[test]
    fn beyond_the_queue_it_refuses_at_once_and_the_abandoned_make_room() {
        let hasher = Hasher::new(1, 2).expect("threads");
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut jobs: Vec<_> = (0..8).map(|_| Box::pin(hasher.hash("password"))).collect();
            let polled: Vec<_> = jobs.iter_mut().map(|job| job.as_mut().poll(&mut context)).collect();
            let refused = polled.iter().filter(|p| matches!(p, Poll::Ready(Err(_)))).count();
            assert_eq!(refused, 5, "one is hashed, two wait");
            let Some(Poll::Ready(Err(fault))) = polled.into_iter().find(|p| p.is_ready()) else {
                panic!("none was refused");
            };
            let response = fault.response(false);
            assert_eq!(
                (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
                (503, &"1".parse().expect("a value"))
            );
        }
        let mut next = pin!(hasher.hash("password"));
        assert!(
            next.as_mut().poll(&mut context).is_pending(),
            "those that were dropped made room"
        );
        wait(next).expect("hashes");
    }
}
