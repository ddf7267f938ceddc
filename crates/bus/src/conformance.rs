//! The conformance suite of the bus contract. An engine runs each check against the real thing:
//! `conformance::all(&|| open_fresh()).await`.

use crate::{BoxFuture, Bus, Claim, Message, Schedule, Selection, Subscription};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Opens a bus: an empty one, or with `true` the one closed last.
pub type Open<'a> = dyn Fn(bool) -> BoxFuture<'a, Arc<dyn Bus>> + 'a;

/// Runs every check; panics at the first that fails.
pub async fn all(open: &Open<'_>) {
    fan_out(&*open(false).await).await;
    order_per_key(&*open(false).await).await;
    a_failing_head_blocks_its_key_only(&*open(false).await).await;
    dead_letters(&*open(false).await).await;
    dead_letters_page_by_page(&*open(false).await).await;
    not_taken_twice(&*open(false).await).await;
    schedules(&*open(false).await).await;
    jobs(&*open(false).await).await;
    what_was_in_flight_comes_again(open).await;
    wakes(open(false).await).await;
}

fn message(id: &str, topic: &str, key: &str) -> Message {
    Message {
        id: id.into(),
        topic: topic.into(),
        key: key.into(),
        time_us: 1,
        payload: format!("{{\"id\":\"{id}\"}}"),
        traceparent: None,
    }
}

fn subscription(name: &str, topics: &[&str]) -> Subscription {
    Subscription {
        name: name.into(),
        topics: topics.iter().map(|t| (*t).to_owned()).collect(),
    }
}

async fn ids(bus: &dyn Bus, subscription: &str, limit: usize) -> Vec<(u64, String, u32)> {
    let deliveries = bus.fetch(subscription, limit).await.expect("fetch");
    deliveries
        .into_iter()
        .map(|d| (d.serial, d.message.id, d.attempt))
        .collect()
}

fn names(found: &[(u64, String, u32)]) -> Vec<&str> {
    found.iter().map(|f| &*f.1).collect()
}

async fn fan_out(bus: &dyn Bus) {
    bus.declare(vec![
        subscription("a", &["user.registered"]),
        subscription("b", &["user.*"]),
        subscription("c", &["order.placed"]),
    ])
    .await
    .expect("declare");
    bus.publish(vec![
        message("1", "user.registered", "k"),
        message("2", "user.left", "k2"),
    ])
    .await
    .expect("publish");
    assert_eq!(names(&ids(bus, "a", 10).await), ["1"]);
    assert_eq!(names(&ids(bus, "b", 10).await), ["1", "2"]);
    assert!(ids(bus, "c", 10).await.is_empty());
    let full = bus.publish(vec![message("3", "order.placed", "k")]).await;
    assert!(full.is_ok());
    let delivery = bus.fetch("c", 1).await.expect("fetch").remove(0);
    assert_eq!(
        delivery.message,
        message("3", "order.placed", "k"),
        "a message arrives as it was published"
    );
}

async fn order_per_key(bus: &dyn Bus) {
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    bus.publish(vec![
        message("a1", "t", "a"),
        message("a2", "t", "a"),
        message("b1", "t", "b"),
    ])
    .await
    .expect("publish");
    let first = ids(bus, "s", 10).await;
    assert_eq!(names(&first), ["a1", "b1"], "one in flight per key");
    assert!(ids(bus, "s", 10).await.is_empty(), "in flight is not fetched again");
    bus.acknowledge(first[0].0).await.expect("ack");
    assert_eq!(names(&ids(bus, "s", 10).await), ["a2"]);
}

async fn a_failing_head_blocks_its_key_only(bus: &dyn Bus) {
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    bus.publish(vec![
        message("a1", "t", "a"),
        message("a2", "t", "a"),
        message("b1", "t", "b"),
        message("b2", "t", "b"),
    ])
    .await
    .expect("publish");
    let first = ids(bus, "s", 10).await;
    bus.retry(first[0].0, Duration::from_millis(150), "down".into())
        .await
        .expect("retry");
    bus.acknowledge(first[1].0).await.expect("ack");
    assert_eq!(names(&ids(bus, "s", 10).await), ["b2"], "a waits, b goes on");
    let began = Instant::now();
    let again = loop {
        let found = ids(bus, "s", 10).await;
        if !found.is_empty() {
            break found;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the retry never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(
        began.elapsed() >= Duration::from_millis(100),
        "the retry came before its time"
    );
    assert_eq!(
        (&*again[0].1, again[0].2),
        ("a1", 2),
        "the head again, its second attempt"
    );
}

async fn dead_letters(bus: &dyn Bus) {
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    bus.publish(vec![message("a1", "t", "a"), message("a2", "t", "a")])
        .await
        .expect("publish");
    let first = ids(bus, "s", 10).await;
    bus.park(first[0].0, "never".into()).await.expect("park");
    assert_eq!(names(&ids(bus, "s", 10).await), ["a2"], "a parked head frees its key");
    let parked = bus.parked(Selection::default()).await.expect("parked");
    assert_eq!(
        (
            parked.len(),
            &*parked[0].message.id,
            &*parked[0].error,
            parked[0].attempts
        ),
        (1, "a1", "never", 1)
    );
    let backlog = bus.backlog().await.expect("backlog");
    assert_eq!((backlog[0].waiting, backlog[0].parked), (1, 1));
    let other = Selection {
        subscription: Some("another".into()),
        ..Selection::default()
    };
    assert_eq!(bus.replay(other).await.expect("replay"), 0);
    let this = Selection {
        serial: Some(parked[0].serial),
        ..Selection::default()
    };
    assert_eq!(bus.replay(this).await.expect("replay"), 1);
    assert!(bus.parked(Selection::default()).await.expect("parked").is_empty());
    // a2 is in flight: the replayed one waits for its key like any other.
    assert!(ids(bus, "s", 10).await.is_empty());
    let a2 = bus.backlog().await.expect("backlog");
    assert_eq!(a2[0].waiting, 2);
}

async fn dead_letters_page_by_page(bus: &dyn Bus) {
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    let messages = ["a", "b", "c", "d", "e"].map(|name| message(name, "t", name));
    bus.publish(messages.to_vec()).await.expect("publish");
    for (serial, ..) in ids(bus, "s", 10).await {
        bus.park(serial, "never".into()).await.expect("park");
    }
    let mut seen: Vec<String> = Vec::new();
    let mut page = Selection {
        limit: 2,
        ..Selection::default()
    };
    for length in [2, 2, 1, 0] {
        let parked = bus.parked(page.clone()).await.expect("parked");
        assert_eq!(parked.len(), length, "after {:?}", page.after);
        page.after = parked.last().map(|letter| letter.serial).or(page.after);
        seen.extend(parked.into_iter().map(|letter| letter.message.id));
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"], "the oldest first, each once");
}

async fn not_taken_twice(bus: &dyn Bus) {
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    bus.publish(vec![message("1", "t", "a"), message("1", "t", "a")])
        .await
        .expect("publish");
    bus.publish(vec![message("1", "t", "a")]).await.expect("publish");
    assert_eq!(bus.backlog().await.expect("backlog")[0].waiting, 1);
}

async fn schedules(bus: &dyn Bus) {
    bus.declare(vec![subscription("hourly", &[])]).await.expect("declare");
    let every = vec![Schedule {
        subscription: "hourly".into(),
        every: Duration::from_millis(400),
    }];
    let next = bus.tick(every.clone()).await.expect("tick").expect("one schedule");
    assert!(next <= Duration::from_millis(400));
    assert!(
        ids(bus, "hourly", 10).await.is_empty(),
        "the first slot is one period away"
    );
    tokio::time::sleep(Duration::from_millis(450)).await;
    bus.tick(every.clone()).await.expect("tick");
    bus.tick(every).await.expect("tick");
    assert_eq!(ids(bus, "hourly", 10).await.len(), 1, "a slot comes once");
}

async fn jobs(bus: &dyn Bus) {
    let claim = |key: &str, fingerprint: &str, job: &str| Claim {
        key: key.into(),
        fingerprint: fingerprint.into(),
        job: job.into(),
    };
    let first = claim("k", "f", "1");
    assert_eq!(bus.claim_job(first.clone()).await.expect("claim"), first);
    for later in [claim("k", "f", "2"), claim("k", "g", "3")] {
        assert_eq!(bus.claim_job(later).await.expect("claim"), first, "the first stays");
    }
    let other = claim("l", "f", "4");
    assert_eq!(bus.claim_job(other.clone()).await.expect("claim"), other);
    assert_eq!(bus.job("none").await.expect("job"), None);
    bus.open_job("j".into()).await.expect("open");
    assert_eq!(bus.job("j").await.expect("job").expect("there").result, None);
    bus.close_job("j".into(), Ok("[1]".into())).await.expect("close");
    assert_eq!(
        bus.job("j").await.expect("job").expect("there").result,
        Some(Ok("[1]".into()))
    );
}

async fn what_was_in_flight_comes_again(open: &Open<'_>) {
    let bus = open(false).await;
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    bus.publish(vec![message("1", "t", "a"), message("2", "t", "b")])
        .await
        .expect("publish");
    let taken = ids(&*bus, "s", 10).await;
    bus.acknowledge(taken[1].0).await.expect("ack");
    bus.close().await;
    drop(bus);
    let bus = open(true).await;
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    assert_eq!(
        names(&ids(&*bus, "s", 10).await),
        ["1"],
        "what was not acknowledged, and nothing else"
    );
}

async fn wakes(bus: Arc<dyn Bus>) {
    bus.declare(vec![subscription("s", &["t"])]).await.expect("declare");
    assert!(ids(&*bus, "s", 1).await.is_empty());
    let waiting = bus.clone();
    let woken = tokio::spawn(async move { waiting.ready("s").await });
    tokio::task::yield_now().await;
    bus.publish(vec![message("1", "t", "a")]).await.expect("publish");
    tokio::time::timeout(Duration::from_secs(5), woken)
        .await
        .expect("a publication wakes")
        .expect("no panic");
}
