//! TCP sockets of both sides: how they are bound and tuned.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

/// Clients that the kernel keeps waiting for a worker, at most.
const BACKLOG: i32 = 4096;

/// Binds `n` sockets to one address; the kernel shares connections out between them. Port 0 takes a
/// free port, the same for all.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr, n: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let mut address = address;
    let mut sockets = Vec::with_capacity(n);
    for _ in 0..n.max(1) {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(socket);
        address = listener.local_addr()?;
        sockets.push(listener);
    }
    Ok(sockets)
}

/// Sets what every connection needs, accepted or opened. Without `TCP_NODELAY` the second small
/// write waits for the peer's delayed acknowledgement: 40 ms on every streamed answer.
///
/// # Errors
/// When the peer has left already.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sockets_share_the_port_that_the_first_one_got() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 3).unwrap();
        let ports: Vec<_> =
            sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]));
    }

    #[tokio::test]
    async fn small_writes_do_not_wait() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 1).unwrap();
        let stream = TcpStream::connect(sockets[0].local_addr().unwrap()).await.unwrap();
        assert!(!socket2::SockRef::from(&stream).tcp_nodelay().unwrap());
        tune(&stream).unwrap();
        assert!(socket2::SockRef::from(&stream).tcp_nodelay().unwrap());
    }
}
