//! The embedded bus holds the bus contract.

use mainstay_bus::{Bus, conformance};
use mainstay_bus_embedded::EmbeddedBus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[tokio::test]
async fn holds_the_contract() {
    let dir = std::env::temp_dir().join(format!("mainstay-bus-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    let files = AtomicU32::new(0);
    conformance::all(&|reopen| {
        let n = if reopen {
            files.load(Ordering::Relaxed)
        } else {
            files.fetch_add(1, Ordering::Relaxed) + 1
        };
        let path = dir.join(format!("{n}.db"));
        Box::pin(async move { EmbeddedBus::open(&path).expect("opens") as Arc<dyn Bus> })
    })
    .await;
    std::fs::remove_dir_all(&dir).expect("the temporary folder goes");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let path = std::env::temp_dir().join(format!("mainstay-bus-lock-{}.db", std::process::id()));
    let first = EmbeddedBus::open(&path).expect("opens");
    let second = EmbeddedBus::open(&path).err().expect("a second one is refused");
    assert!(second.message.contains("in use by another process"), "{second}");
    first.close().await;
    std::fs::remove_file(&path).expect("the file goes");
}

#[test]
fn a_file_that_cannot_be_opened_is_named_with_what_to_do() {
    let folder = std::env::temp_dir().join(format!("mainstay-bus-unopened-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("folder.db")).expect("a folder");
    std::fs::write(
        folder.join("text.db"),
        "this is no database, and long enough to be told apart from one".repeat(20),
    )
    .expect("a file");
    for (path, says) in [
        (
            folder.join("text.db"),
            ": the file is damaged, or no SQLite database; bring it back",
        ),
        (folder.join("folder.db"), ": it is a directory; move it away"),
        // Not even root writes there.
        (
            "/proc/bus.db".into(),
            ": the file or its directory cannot be written; give the user that runs Mainstay the right",
        ),
    ] {
        let error = EmbeddedBus::open(&path).err().expect("refused");
        let wanted = format!("{}{says}", path.display());
        assert!(error.message.starts_with(&wanted), "{wanted:?}: {error}");
    }
    std::fs::remove_dir_all(folder).expect("removed");
}
