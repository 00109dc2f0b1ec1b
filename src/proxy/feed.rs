//! An upstream's stream on its way to the client, piece by piece: bytes in, bytes out.
//!
//! Sans-IO: [`super::attempt`] feeds it while the answer is still held back, [`super::relay`] once
//! the client is reading. Two ways, as in [`super::outbound`]: events of the client's own dialect
//! pass as the very bytes that came, looked into but not changed; others are decoded and written
//! anew. Only whole events come out, so that an error event can always follow.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::dialect::{
    ApiError, Client, Decode, Delta, Encode, Seen, StreamError, Upstream, Usage, View, Watch,
    sse::{self, Event, Framer},
};

/// The state of one stream.
#[derive(Debug)]
pub struct Feed {
    framer: Framer,
    way: Way,
    /// Whether something came that a person or program would call the beginning of an answer.
    begun: bool,
}

enum Way {
    /// The bytes pass.
    Pass {
        watch: Box<dyn Watch>,
        client: &'static dyn Client,
        hide_usage: bool,
        /// Whether the dialect's terminal marker has gone out.
        ended: bool,
    },
    /// The events are written anew.
    Translate {
        decode: Box<dyn Decode>,
        encode: Box<dyn Encode>,
        deltas: Vec<Delta>,
        usage: Option<Usage>,
    },
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass { .. } => "Pass",
            Self::Translate { .. } => "Translate",
        })
    }
}

impl Feed {
    /// A stream whose bytes pass. `hide_usage` leaves out the event that the client did not ask for.
    pub fn pass(upstream: &dyn Upstream, client: &'static dyn Client, hide_usage: bool) -> Self {
        let watch = upstream.watch_stream();
        Self::new(Way::Pass { watch, client, hide_usage, ended: false })
    }

    /// A stream that is written anew in the client's dialect.
    pub fn translate(upstream: &dyn Upstream, client: &dyn Client, view: &View) -> Self {
        Self::new(Way::Translate {
            decode: upstream.decode_stream(),
            encode: client.encode_stream(view),
            deltas: Vec::new(),
            usage: None,
        })
    }

    fn new(way: Way) -> Self {
        Self { framer: Framer::default(), way, begun: false }
    }

    /// Whether the answer has begun.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the dialect's own end has come.
    pub fn is_complete(&self) -> bool {
        match &self.way {
            Way::Pass { watch, .. } => watch.is_complete(),
            Way::Translate { decode, .. } => decode.is_complete(),
        }
    }

    /// Tokens reported so far.
    pub fn usage(&self) -> Option<Usage> {
        match &self.way {
            Way::Pass { watch, .. } => watch.usage(),
            Way::Translate { usage, .. } => *usage,
        }
    }

    /// Takes the next piece of the upstream's body.
    ///
    /// # Errors
    /// When the provider reports a failure or writes what nobody can read. What came before it
    /// stands in `out`.
    pub fn push(&mut self, piece: &Bytes, out: &mut VecDeque<Bytes>) -> Result<(), StreamError> {
        let whole =
            self.framer.push(piece).map_err(|error| StreamError::Malformed(error.to_string()))?;
        match &mut self.way {
            Way::Pass { watch, hide_usage, ended, .. } => {
                let passed = pass(&whole, watch.as_mut(), *hide_usage, &mut self.begun, out)?;
                *ended |= passed == Passed::Ended;
                Ok(())
            }
            Way::Translate { decode, encode, deltas, usage } => {
                let mut read = Ok(());
                for raw in sse::events(&whole) {
                    read = decode.event(&Event::parse(raw), deltas);
                    if read.is_err() {
                        break;
                    }
                }
                write(deltas, encode.as_mut(), usage, &mut self.begun, out);
                read
            }
        }
    }

    /// Takes the end of the upstream's body, and ends the client's stream as a complete one.
    ///
    /// # Errors
    /// [`StreamError::Truncated`] when the answer was not complete: then nothing is ended.
    pub fn end(&mut self, out: &mut VecDeque<Bytes>) -> Result<(), StreamError> {
        match &mut self.way {
            // Some servers close without their terminal marker, but never inside an answer.
            Way::Pass { watch, client, ended, .. } if watch.is_complete() => {
                if !*ended {
                    push(out, Bytes::from_static(client.stream_end()));
                }
                Ok(())
            }
            Way::Pass { .. } => Err(StreamError::Truncated),
            Way::Translate { decode, encode, deltas, usage } => {
                decode.end(deltas)?;
                write(deltas, encode.as_mut(), usage, &mut self.begun, out);
                let mut bytes = Vec::new();
                encode.complete(&mut bytes);
                push(out, Bytes::from(bytes));
                Ok(())
            }
        }
    }

    /// Ends the client's stream with the dialect's own error, which never looks like success.
    pub fn fail(&mut self, error: &ApiError, request_id: &str, out: &mut VecDeque<Bytes>) {
        let bytes = match &mut self.way {
            Way::Pass { client, .. } => client.stream_error(error, request_id),
            Way::Translate { encode, .. } => {
                let mut bytes = Vec::new();
                encode.fail(error, request_id, &mut bytes);
                bytes
            }
        };
        push(out, Bytes::from(bytes));
    }
}

/// How far the events of an untouched stream have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// The terminal marker was among them.
    Ended,
    /// It may still come.
    Open,
}

/// Lets whole events through as runs of the bytes that came, but for those that must stay out.
fn pass(
    whole: &Bytes,
    watch: &mut dyn Watch,
    hide_usage: bool,
    begun: &mut bool,
    out: &mut VecDeque<Bytes>,
) -> Result<Passed, StreamError> {
    let (mut from, mut at) = (0, 0);
    let mut passed = Passed::Open;
    for raw in sse::events(whole) {
        let end = at + raw.len();
        match watch.event(raw) {
            Seen::Content => *begun = true,
            Seen::Terminal => {
                *begun = true;
                passed = Passed::Ended;
            }
            Seen::Usage if hide_usage => {
                push(out, whole.slice(from..at));
                from = end;
            }
            Seen::Idle | Seen::Usage => {}
            Seen::Error(error) => {
                push(out, whole.slice(from..at));
                return Err(StreamError::Provider(error));
            }
        }
        at = end;
    }
    push(out, whole.slice(from..));
    Ok(passed)
}

/// Writes deltas in the client's dialect as one piece.
fn write(
    deltas: &mut Vec<Delta>,
    encode: &mut dyn Encode,
    usage: &mut Option<Usage>,
    begun: &mut bool,
    out: &mut VecDeque<Bytes>,
) {
    let mut bytes = Vec::new();
    for delta in deltas.drain(..) {
        if let Delta::Usage(newer) = &delta {
            *usage = Some(usage.map_or(*newer, |older| older.merged(*newer)));
        }
        *begun |= delta.is_meaningful();
        encode.delta(delta, &mut bytes);
    }
    push(out, Bytes::from(bytes));
}

fn push(out: &mut VecDeque<Bytes>, bytes: Bytes) {
    if !bytes.is_empty() {
        out.push_back(bytes);
    }
}
