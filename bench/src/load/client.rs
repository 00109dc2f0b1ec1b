//! One client connection: sends a request as it stands and reads its answer to the end.

use std::{io, net::SocketAddr};

use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    clock,
    wire::{self, Length, Piece},
};

/// A connection to the gateway.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    bytes: BytesMut,
}

/// Tokens that came in one piece: when each was sent, and when they were seen.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) sent: Vec<u64>,
    pub(super) seen: u64,
}

impl Client {
    /// Connects.
    pub(super) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: BytesMut::with_capacity(4 << 10) })
    }

    /// Asks for a whole answer.
    pub(super) async fn whole(&mut self, request: &[u8]) -> io::Result<()> {
        let length = self.ask(request).await?;
        match length {
            Length::Known(size) => {
                while self.bytes.len() < size {
                    self.more().await?;
                }
                self.bytes.advance(size);
                Ok(())
            }
            Length::Chunked => loop {
                match wire::chunk(&mut self.bytes) {
                    Piece::Chunk(_) => {}
                    Piece::End => return Ok(()),
                    Piece::More => self.more().await?,
                    Piece::Malformed => return Err(io::ErrorKind::InvalidData.into()),
                }
            },
        }
    }

    /// Asks for a stream and shows each piece of it. An answer that ends without its dialect's last
    /// event is an error.
    pub(super) async fn stream(
        &mut self,
        request: &[u8],
        mut see: impl FnMut(Tokens),
    ) -> io::Result<()> {
        if self.ask(request).await? != Length::Chunked {
            return Err(io::Error::other("a stream of known length"));
        }
        let mut complete = false;
        loop {
            match wire::chunk(&mut self.bytes) {
                Piece::Chunk(piece) => {
                    let seen = clock::now();
                    let sent: Vec<u64> = clock::stamps(&piece).collect();
                    if !sent.is_empty() {
                        see(Tokens { sent, seen });
                    }
                    complete = complete || is_last(&piece);
                }
                Piece::End if complete => return Ok(()),
                Piece::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Piece::More => self.more().await?,
                Piece::Malformed => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Sends a request and reads the head of its answer.
    async fn ask(&mut self, request: &[u8]) -> io::Result<Length> {
        self.stream.write_all(request).await?;
        loop {
            let Some(end) = wire::head_end(&self.bytes) else {
                self.more().await?;
                continue;
            };
            let head = self.bytes.split_to(end);
            let status = wire::status(&head);
            if status != Some(200) {
                return Err(io::Error::other(format!("answered with status {status:?}")));
            }
            return wire::length(&head).ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        self.bytes.reserve(4 << 10);
        match self.stream.read_buf(&mut self.bytes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a piece holds the event that only a complete answer ends with.
fn is_last(piece: &[u8]) -> bool {
    memmem::find(piece, b"[DONE]").is_some() || memmem::find(piece, b"message_stop").is_some()
}
