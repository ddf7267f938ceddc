//! `@supabase/auth-js` from npm, as it is, over HTTP.

use crate::harness::{Project, config};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_account::Account;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that was read when this was written; later ones keep to the same wire.
const PACKAGE: &str = "@supabase/auth-js@2.109.0";

#[test]
fn the_npm_client_works_unmodified() {
    let Some(modules) = installed() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "node and npm with {PACKAGE} are needed"
        );
        eprintln!("skipped: node and npm with {PACKAGE} are needed");
        return;
    };
    let project = Project::new(config());
    let address = serve(project.account.clone());
    // Node looks for packages from where the script lies.
    let script = modules.join("auth_js.mjs");
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/account/auth_js.mjs"),
        &script,
    )
    .expect("copied");
    let output = Command::new("node")
        .arg(&script)
        .arg(format!("http://{address}/auth/v1"))
        .output()
        .expect("node runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(text(&output.stdout).contains("all as expected"));
}

/// A folder with the package in it, installed once.
fn installed() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("auth-js");
    if folder.join("node_modules/@supabase/auth-js/package.json").is_file() {
        return Some(folder);
    }
    std::fs::create_dir_all(&folder).ok()?;
    std::fs::write(folder.join("package.json"), "{\"private\":true}").ok()?;
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--silent", PACKAGE])
        .current_dir(&folder)
        .output()
        .ok()?;
    installed.status.success().then_some(folder)
}

/// Serves accounts on a free port until the test's process ends.
fn serve(account: Account) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("non-blocking");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        crate::harness::run(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let account = account.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(&account, request));
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
    });
    address
}

async fn answer(
    account: &Account,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let response = account.handle(http::Request::from_parts(parts, body)).await;
    Ok(response.map(Full::new))
}
