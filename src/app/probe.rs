//! `trunkline probe`: asks a URL until it answers as expected.
//!
//! The image has no shell and no `curl`; this is what `helm test` and a container's health check run
//! in it. Plain HTTP only, with one connection a try and no redirects.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    thread,
    time::Duration,
};

use http::Uri;
use tokio::time::Instant;

use super::{Failure, args::ProbeArgs, say};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest try.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn probe(args: &ProbeArgs) -> Result<(), Failure> {
    let uri: Uri = args.url.parse().map_err(|error| format!("{}: {error}", args.url))?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let answer = ask(&uri, args.status);
        match answer {
            Ok(said) => {
                say(&format!("{}: {said}", args.url));
                return Ok(());
            }
            Err(error) if Instant::now() + PAUSE >= deadline => {
                return Err(format!("{}: {error}", args.url).into());
            }
            Err(_not_yet) => thread::sleep(PAUSE),
        }
    }
}

/// One try. With `tcp://` a connection is all that is asked for.
fn ask(uri: &Uri, status: u16) -> Result<String, Failure> {
    let host = uri.host().ok_or("the URL has no host")?;
    let port = uri.port_u16().unwrap_or(80);
    let address = (host, port).to_socket_addrs()?.next().ok_or("the host has no address")?;
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    match uri.scheme_str() {
        Some("tcp") => return Ok("open".to_owned()),
        Some("http") => {}
        Some(_) | None => return Err("the URL must begin with http:// or tcp://".into()),
    }
    socket.set_read_timeout(Some(PATIENCE))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    write!(socket, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut line = [0; "HTTP/1.1 200".len()];
    socket.read_exact(&mut line)?;
    let found = std::str::from_utf8(&line)?.rsplit(' ').next().unwrap_or_default();
    if found == status.to_string() {
        Ok(format!("status {found}"))
    } else {
        Err(format!("status {found}, not {status}").into())
    }
}
