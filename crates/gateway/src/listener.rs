//! Sockets that listen: one per worker and address, so that the kernel spreads connections without a lock.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4_096;

/// Listeners by worker, and where they listen.
pub(crate) type Bound = (Vec<Vec<TcpListener>>, Vec<SocketAddr>);

/// `workers` listeners on each address, and the addresses as they turned out (port 0 is replaced).
pub(crate) fn bind(
    addresses: &[SocketAddr],
    workers: usize,
    share_port: bool,
) -> Result<Bound, (SocketAddr, io::Error)> {
    let mut per_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for &wanted in addresses {
        let fault = |error| (wanted, error);
        if !share_port && wanted.port() != 0 {
            // With SO_REUSEPORT a second gateway would silently take half of the connections; without it, the kernel says
            // that the port is taken.
            socket(wanted, false).map_err(fault)?;
        }
        let mut address = wanted;
        for listeners in &mut per_worker {
            let listener = socket(address, true).map_err(fault)?;
            listener.listen(BACKLOG).map_err(fault)?;
            let listener: TcpListener = listener.into();
            address = listener.local_addr().map_err(fault)?;
            listeners.push(listener);
        }
        bound.push(address);
    }
    Ok((per_worker, bound))
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if shared {
        socket.set_reuse_port(true)?;
    }
    if let SocketAddr::V6(v6) = address {
        // `[::]` takes IPv4 too; any other address is only itself.
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if !shared {
        // Binding alone succeeds beside another listener with SO_REUSEADDR; listening does not.
        socket.listen(1)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_strangers_do_not() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listeners, bound) = bind(&[any], 3, false).expect("free");
        assert_eq!(listeners.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        assert_ne!(bound[0].port(), 0);
        let (address, error) = bind(&bound, 1, false).expect_err("taken");
        assert_eq!((address, error.kind()), (bound[0], io::ErrorKind::AddrInUse));
        assert!(bind(&bound, 1, true).is_ok(), "unless it is wished for");
        drop(listeners);
        assert!(bind(&bound, 1, false).is_ok());
    }
}
