//! The bodies of both directions: a request in pieces that are there already, and an answer that
//! holds its place on a shared connection until it is read or dropped.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use smallvec::SmallVec;

use super::place::Place;

/// A body in pieces, sent without joining them. Its size is known, so `content-length` is sent.
pub struct RequestBody {
    pieces: smallvec::IntoIter<[Bytes; 8]>,
    left: u64,
}

impl RequestBody {
    /// A body of these pieces, in order.
    pub fn new(pieces: SmallVec<[Bytes; 8]>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: pieces.into_iter(), left }
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self::new(smallvec::smallvec![bytes])
    }
}

/// A prompt is never printed.
impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.find(|piece| !piece.is_empty());
        if let Some(piece) = &piece {
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An answer's body. Dropped before its end, it cancels the request at the provider: an HTTP/1.1
/// connection is closed, an HTTP/2 stream is reset.
#[derive(Debug)]
pub struct ResponseBody {
    body: Incoming,
    /// Its place on an HTTP/2 connection.
    _place: Option<Place>,
}

impl ResponseBody {
    pub(super) fn new(body: Incoming, place: Option<Place>) -> Self {
        Self { body, _place: place }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn next(body: &mut RequestBody) -> Option<Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
            Poll::Ready(Some(Err(never))) => match never {},
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    #[test]
    fn pieces_go_out_in_order_and_the_size_left_is_exact() {
        let pieces = ["ab", "", "cde"].map(|text| Bytes::from_static(text.as_bytes()));
        let mut body = RequestBody::new(pieces.into_iter().collect());
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(next(&mut body).unwrap(), "ab");
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(next(&mut body).unwrap(), "cde");
        assert!(body.is_end_stream());
        assert_eq!(next(&mut body), None);
    }

    #[test]
    fn a_body_is_not_printed() {
        let body = RequestBody::from(Bytes::from_static(b"canary prompt"));
        assert!(!format!("{body:?}").contains("canary"));
    }
}
