//! The example's page in Chromium, driven by puppeteer as npm delivers it: `tests/browser/shop.mjs` says what somebody does there.

use crate::shop::Shop;
use mainstay_tests::{npm_install, skip};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn somebody_buys_at_the_shops_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let ready = chromium().and_then(|chromium| npm_install(&folder, "puppeteer-core").map(|()| chromium));
    let chromium = match ready {
        Ok(chromium) => chromium,
        Err(reason) => return skip("browser::somebody_buys_at_the_shops_page", &reason),
    };
    let shop = Shop::start();
    let _payments = [shop.payments(0), shop.payments(1)];
    let output = Command::new("node")
        .args(["shop.mjs", &shop.process.ready])
        .current_dir(&folder)
        .env("CHROMIUM", chromium)
        .output()
        .expect("node runs");
    let steps = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && steps.lines().count() == 8,
        "{steps}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn chromium() -> Result<PathBuf, String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
        .ok_or_else(|| "there is no Chromium; cargo xtask engines".to_owned())
}
