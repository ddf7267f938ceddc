//! Several hosts, and TLS: which server is taken, and which certificate.

mod server;

use mainstay_model::Schema;
use mainstay_store::Store;
use mainstay_store_postgres::{Captured, Config, OpenErrorKind, PostgresStore};
use server::Server;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn open(url: String) -> Result<Arc<PostgresStore>, mainstay_store_postgres::OpenError> {
    PostgresStore::open(Config::new(url), Arc::new(Schema::default()), Captured::none()).await
}

#[tokio::test]
async fn the_host_that_takes_writes() {
    let (first, second) = (Server::start(""), Server::start(""));
    first.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    first.sql("postgres", "SELECT pg_reload_conf()");
    let hosts = format!(
        "host={},{} user=postgres dbname=postgres",
        first.folder(),
        second.folder()
    );
    let store = open(hosts.clone()).await.unwrap();
    let which = "SELECT current_setting('unix_socket_directories')";
    let client = store.client().await.unwrap();
    let row = client.query_one(which, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), second.folder());
    assert_eq!(
        first.sql(
            "postgres",
            "SELECT count(*) FROM pg_namespace WHERE nspname = 'mainstay'"
        ),
        "0"
    );
    // The other takes over, and the store finds it without being started again.
    first.sql("postgres", "ALTER SYSTEM RESET default_transaction_read_only");
    first.sql("postgres", "SELECT pg_reload_conf()");
    second.stop("immediate");
    let began = Instant::now();
    while store.ping().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the other host is not found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let standby = open(hosts + " target_session_attrs=standby").await.err().unwrap();
    assert_eq!(standby.kind, OpenErrorKind::Unreachable, "{standby}");
}

#[tokio::test]
async fn certificates() {
    let server = Server::start("");
    let folder = server.folder();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args([
            "-keyout",
            &format!("{folder}/server.key"),
            "-out",
            &format!("{folder}/server.crt"),
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    server.own(&["server.key", "server.crt"]);
    for setting in [
        "ssl = on".to_owned(),
        format!("ssl_key_file = '{folder}/server.key'"),
        format!("ssl_cert_file = '{folder}/server.crt'"),
    ] {
        server.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
    }
    server.sql("postgres", "CREATE ROLE scram LOGIN SUPERUSER PASSWORD 'p@ss'");
    server.stop("fast");
    server.allow(
        "local all postgres trust\nhostssl all scram 127.0.0.1/32 scram-sha-256\nhostnossl all scram 127.0.0.1/32 reject\n",
    );
    server.resume_with(&format!("-c listen_addresses=127.0.0.1 -c port={port}"));
    let url =
        |host: &str, password: &str, rest: &str| format!("postgres://scram:{password}@{host}:{port}/postgres?{rest}");
    let authority = format!("sslrootcert={folder}/server.crt");
    for (host, rest) in [
        ("127.0.0.1", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("localhost", format!("sslmode=verify-full&{authority}")),
        ("127.0.0.1", format!("sslmode=verify-ca&{authority}")),
    ] {
        let store = open(url(host, "p%40ss", &rest))
            .await
            .unwrap_or_else(|e| panic!("{rest}: {e}"));
        store.ping().await.unwrap_or_else(|e| panic!("{rest}: {e}"));
        let client = store.client().await.unwrap();
        let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert!(client.query_one(ssl, &[]).await.unwrap().get::<_, bool>(0), "{rest}");
    }
    for (host, password, rest, kind) in [
        (
            "127.0.0.1",
            "p%40ss",
            "sslmode=disable".to_owned(),
            OpenErrorKind::Refused,
        ),
        (
            "127.0.0.1",
            "wrong",
            "sslmode=require".to_owned(),
            OpenErrorKind::Refused,
        ),
        (
            "127.0.0.1",
            "p%40ss",
            format!("sslmode=verify-full&{authority}"),
            OpenErrorKind::Tls,
        ),
        (
            "localhost",
            "p%40ss",
            "sslmode=verify-full".to_owned(),
            OpenErrorKind::Tls,
        ),
    ] {
        let error = open(url(host, password, &rest))
            .await
            .err()
            .unwrap_or_else(|| panic!("{rest}"));
        assert_eq!(error.kind, kind, "{rest}: {error}");
        assert!(!error.to_string().contains("p@ss"));
    }
}
