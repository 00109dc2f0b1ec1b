//! The provider behind every gateway: answers at once or at the pace that the prompt asks for.
//!
//! It judges nothing: `trunkline sim` is the strict one. This one is here to cost little.

use std::{io, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::LocalOptions,
    time::{Instant, sleep_until},
};

use crate::{
    Failure,
    answers::{self, Dialect},
    bodies::Pace,
    clock,
    wire::{self, Length, Piece},
};

/// Serves until the process ends.
pub(crate) fn serve(listen: SocketAddr) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A gateway that closes a connection is no failure of the mock's.
            tokio::task::spawn_local(async move { connection(stream).await.ok() });
        }
    })
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(8 << 10);
    loop {
        let Some(head) = wire::head_end(&bytes) else {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = bytes.split_to(head);
        let body = body(&mut stream, &mut bytes, wire::length(&head)).await?;
        answer(&mut stream, &head, &body).await?;
    }
}

/// Reads the body behind a head.
async fn body(
    stream: &mut TcpStream,
    bytes: &mut BytesMut,
    length: Option<Length>,
) -> io::Result<BytesMut> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    match length.ok_or_else(malformed)? {
        Length::Known(size) => {
            bytes.reserve(size.saturating_sub(bytes.len()));
            while bytes.len() < size {
                if stream.read_buf(bytes).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(bytes.split_to(size))
        }
        Length::Chunked => {
            let mut whole = BytesMut::new();
            loop {
                match wire::chunk(bytes) {
                    Piece::Chunk(piece) => whole.extend_from_slice(&piece),
                    Piece::End => return Ok(whole),
                    Piece::Malformed => return Err(malformed()),
                    Piece::More => {
                        if stream.read_buf(bytes).await? == 0 {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                }
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Some(dialect) = Dialect::of(&String::from_utf8_lossy(path)) else {
        // Routers ask for health and models before they send anything.
        return send(
            stream,
            "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\"}]}",
        )
        .await;
    };
    match Pace::read(body) {
        None => send(stream, &answers::whole(dialect)).await,
        Some(pace) => {
            let wants_usage = memchr::memmem::find(body, b"\"include_usage\":true").is_some();
            stream_out(stream, dialect, pace, wants_usage).await
        }
    }
}

async fn send(stream: &mut TcpStream, body: &str) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await
}

/// Writes a stream, a token a write, as a model server does.
async fn stream_out(
    stream: &mut TcpStream,
    dialect: Dialect,
    pace: Pace,
    wants_usage: bool,
) -> io::Result<()> {
    let opening = answers::opening(dialect);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{opening}\r\n",
        opening.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut due = Instant::now();
    let (mut event, mut text) = (String::new(), String::new());
    for _ in 0..pace.tokens {
        if pace.gap > 0 {
            due += Duration::from_micros(pace.gap);
            sleep_until(due).await;
        }
        event.clear();
        text.clear();
        answers::token(dialect, clock::now(), &mut event);
        frame(&event, &mut text);
        stream.write_all(text.as_bytes()).await?;
    }
    text.clear();
    frame(&answers::closing(dialect, pace.tokens, wants_usage), &mut text);
    text.push_str("0\r\n\r\n");
    stream.write_all(text.as_bytes()).await
}

/// Writes one chunk.
fn frame(event: &str, out: &mut String) {
    // Writing to a string cannot fail.
    let _written =
        std::fmt::Write::write_fmt(out, format_args!("{:x}\r\n{event}\r\n", event.len()));
}
