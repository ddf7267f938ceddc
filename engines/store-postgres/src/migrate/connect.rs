//! A connection for migrations, over the same sockets and the same TLS as the store's own.

use super::text::Failure;
use crate::address::{Address, Host};
use crate::wire::{Tls, socket};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};

/// Connects to the first host that takes writes. The connection is driven by a task of its own until the client is dropped.
pub async fn connect(url: &str) -> Result<Client, Failure> {
    let address = Address::parse(url).map_err(Failure::new)?;
    let tls = Tls::new(&address).map_err(Failure::new)?;
    let mut config = tokio_postgres::Config::new();
    config
        .user(&address.user)
        .dbname(&address.database)
        .application_name("mainstay migrate")
        // The socket is encrypted already, where it is to be.
        .ssl_mode(SslMode::Disable);
    if let Some(password) = &address.password {
        config.password(password);
    }
    if let Some(options) = &address.options {
        config.options(options);
    }
    let mut why = Failure::new("the URL names no host");
    for host in &address.hosts {
        match open(&config, host, &tls).await {
            Ok(client) => return Ok(client),
            Err(failure) => why = failure,
        }
    }
    Err(why)
}

async fn open(config: &tokio_postgres::Config, host: &Host, tls: &Tls) -> Result<Client, Failure> {
    let socket = socket(host, tls)
        .await
        .map_err(|e| Failure::new(format!("{host}: {e}")))?;
    let (client, connection) = config
        .connect_raw(socket, NoTls)
        .await
        .map_err(|e| Failure::from(e).help(format!("the server is {host}")))?;
    tokio::spawn(connection);
    let recovering = super::wanted::column(&client, "SELECT pg_is_in_recovery()").await?;
    if recovering.first().is_some_and(|r| r == "t") {
        return Err(Failure::new(format!("{host} is a standby: it takes no writes")));
    }
    Ok(client)
}
