//! Phase 6: the answer on its way to the client.
//!
//! A body that hyper pulls: the upstream is read only when the client has room, so a slow reader
//! holds one piece and no more. Dropping it drops the upstream's body, which cancels the request
//! there at once. From here on nothing is retried; a stream that breaks ends with the dialect's own
//! error event, and whatever happens, the [`Ledger`] is closed exactly once.
//!
//! One timer a stream serves three limits: silence, the whole request, and the short wait for the
//! end of the bytes after the dialect's own end has come (which lets the connection be used again).

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{
    error::{self, Broken},
    feed::Feed,
    settle::Ledger,
    upstream::ResponseBody,
};
use crate::{
    dialect::{StreamError, Upstream},
    observe::Outcome,
    table::Target,
};

/// How long the upstream may keep its connection open after its answer is complete.
const AFTERMATH: Duration = Duration::from_secs(1);

/// How much of the end of a large whole answer is kept, to find the usage in it.
const TAIL: usize = 16 << 10;

/// The body of every answer.
#[derive(Debug)]
pub enum Body {
    /// All of it is here.
    Full(Option<Bytes>),
    /// It comes from an upstream.
    Relay(Box<Relay>),
}

impl Body {
    /// A body that is here already.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }
}

/// An answer that is still coming.
#[derive(Debug)]
pub struct Relay {
    upstream: Option<ResponseBody>,
    way: Way,
    ready: VecDeque<Bytes>,
    limits: Limits,
    alarm: Pin<Box<Sleep>>,
    /// Who answers: what it says of a failure must not hold the key that it was shown.
    target: Arc<Target>,
    ledger: Ledger,
}

/// How pieces of the upstream's body become pieces of ours.
#[derive(Debug)]
pub enum Way {
    /// Event by event.
    Stream(Box<Feed>),
    /// One large document that passes; `tail` is its end so far.
    Whole {
        /// Who can find the usage in it.
        codec: Codec,
        /// The last bytes seen.
        tail: BytesMut,
    },
}

/// An upstream codec that can be printed.
#[derive(Clone, Copy)]
pub struct Codec(pub &'static dyn Upstream);

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codec")
    }
}

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest silence between two pieces.
    pub idle: Duration,
    /// When the whole answer must be through.
    pub ends: Instant,
    /// When the last piece came.
    pub last: Instant,
    /// When the answer became complete, if it has.
    pub complete: Option<Instant>,
}

impl Limits {
    /// When the first of the limits is reached.
    fn due(&self) -> Instant {
        let silent = self.complete.map_or(self.last + self.idle, |at| at + AFTERMATH);
        silent.min(self.ends)
    }
}

impl Relay {
    /// Goes on with an answer of which `ready` has been read already.
    pub fn new(
        upstream: Option<ResponseBody>,
        way: Way,
        ready: VecDeque<Bytes>,
        limits: Limits,
        target: Arc<Target>,
        ledger: Ledger,
    ) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(limits.due()));
        Self { upstream, way, ready, limits, alarm, target, ledger }
    }

    /// Reads the upstream until something can go out; `Ready(())` with nothing ready is the end.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.ready.is_empty() {
            let Some(upstream) = &mut self.upstream else { return Poll::Ready(Ok(())) };
            match Pin::new(upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.limits.last = Instant::now();
                    if let Ok(piece) = frame.into_data() {
                        self.take(piece).map_err(Broken::Read)?;
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(self.ended(false)),
                Poll::Ready(None) => return Poll::Ready(self.ended(true)),
                Poll::Pending => ready!(self.poll_alarm(cx))?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes one piece of the upstream's body.
    fn take(&mut self, piece: Bytes) -> Result<(), StreamError> {
        match &mut self.way {
            Way::Stream(feed) => {
                feed.push(&piece, &mut self.ready)?;
                if feed.is_complete() && self.limits.complete.is_none() {
                    self.limits.complete = Some(self.limits.last);
                    self.alarm.as_mut().reset(self.limits.due());
                }
            }
            Way::Whole { tail, .. } => {
                keep_tail(tail, &piece);
                self.ready.push_back(piece);
            }
        }
        Ok(())
    }

    /// Takes the end of the upstream's body, `clean` or not.
    fn ended(&mut self, clean: bool) -> Result<(), Broken> {
        self.upstream = None;
        match &mut self.way {
            Way::Stream(feed) if clean || feed.is_complete() => {
                feed.end(&mut self.ready).map_err(Broken::Read)
            }
            Way::Whole { .. } if clean => Ok(()),
            Way::Stream(_) | Way::Whole { .. } => Err(Broken::Read(StreamError::Truncated)),
        }
    }

    /// The timer: `Ready` once a limit is reached, which for a complete answer is no failure.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let due = self.limits.due();
            if due <= Instant::now() {
                return Poll::Ready(match self.limits.complete {
                    Some(_) => self.ended(false),
                    None => Err(Broken::Late),
                });
            }
            // Pieces have come since the timer was set: it is moved here, not with each of them.
            self.alarm.as_mut().reset(due);
        }
    }

    /// Ends a broken answer. A stream gets its error event; a whole document can only be cut, which
    /// its announced length tells the client.
    fn break_off(&mut self, broken: &Broken) -> Option<Cut> {
        self.upstream = None;
        let (outcome, mut told) = error::of_broken(broken);
        told.message = error::redacted(&told.message, &self.target);
        self.ledger.usage(self.usage());
        self.ledger.close(outcome);
        match &mut self.way {
            Way::Stream(feed) => {
                feed.fail(&told, self.ledger.request_id(), &mut self.ready);
                None
            }
            Way::Whole { .. } => Some(Cut),
        }
    }

    fn usage(&self) -> Option<crate::dialect::Usage> {
        match &self.way {
            Way::Stream(feed) => feed.usage(),
            Way::Whole { codec, tail } => codec.0.usage(tail),
        }
    }
}

/// The end of a whole document is missing: the connection must not end as if it were there.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's answer was cut")]
pub struct Cut;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let relay = match self.get_mut() {
            Self::Full(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Relay(relay) => relay,
        };
        if let Err(broken) = ready!(relay.poll_upstream(cx))
            && let Some(cut) = relay.break_off(&broken)
        {
            return Poll::Ready(Some(Err(cut)));
        }
        let Some(piece) = relay.ready.pop_front() else {
            relay.ledger.usage(relay.usage());
            relay.ledger.close(Outcome::Ok);
            return Poll::Ready(None);
        };
        relay.ledger.sent(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Relay(_) => SizeHint::default(),
        }
    }
}

/// Keeps the last [`TAIL`] bytes of what has passed.
fn keep_tail(tail: &mut BytesMut, piece: &[u8]) {
    let new = piece.get(piece.len().saturating_sub(TAIL)..).unwrap_or_default();
    let surplus = (tail.len() + new.len()).saturating_sub(TAIL);
    bytes::Buf::advance(tail, surplus.min(tail.len()));
    tail.extend_from_slice(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_bytes_only() {
        let mut tail = BytesMut::new();
        for byte in 0..100_u8 {
            keep_tail(&mut tail, &[byte; 500]);
        }
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail.last(), Some(&99));
        keep_tail(&mut tail, &vec![7; TAIL * 2]);
        assert!(tail.len() == TAIL && tail.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_complete_answer_waits_shortly_and_an_open_one_its_idle_time() {
        let now = Instant::now();
        let limits = Limits {
            idle: Duration::from_secs(15),
            ends: now + Duration::from_mins(10),
            last: now,
            complete: None,
        };
        assert_eq!(limits.due(), now + Duration::from_secs(15));
        assert_eq!(Limits { complete: Some(now), ..limits }.due(), now + AFTERMATH);
        let late = Limits { ends: now + Duration::from_secs(2), ..limits };
        assert_eq!(late.due(), now + Duration::from_secs(2));
    }
}
