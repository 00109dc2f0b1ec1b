//! Streams as state machines: events in, deltas out; deltas in, bytes out.
//!
//! A stream can end in three ways and no two may look alike: complete, with the dialect's own end;
//! broken, with the dialect's own error; or cut. So a decoder must be told when the bytes end
//! ([`Decode::end`]) and says whether the terminal marker had come. Decoders see whole events only;
//! [`super::sse`] has put the bytes together, however they were split on the way.

use super::{
    ApiError, ProviderError, Usage,
    chat::{Finish, Signature, TokenLogprob},
    sse::Event,
};

/// One step of a streamed answer, in the common form. A stream has one answer, not several.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The answer ends here and for this reason. Usage may still follow.
    Finish(Finish),
    /// Probabilities of the tokens just written.
    Logprobs(Vec<TokenLogprob>),
    /// More thinking.
    Reasoning(String),
    /// The proof of the thinking so far; the next thinking is a new block.
    ReasoningSignature(Signature),
    /// A block of thinking that the provider has encrypted whole.
    RedactedReasoning(Signature),
    /// More of the words for why the model will not answer.
    Refusal(String),
    /// The answer begins.
    Start {
        /// The provider's id of the answer.
        id: String,
        /// The provider's name of the model that answers.
        model: String,
    },
    /// More words.
    Text(String),
    /// A call begins. Calls are numbered from 0 in the order in which they begin.
    ToolCall {
        /// Its number.
        index: usize,
        /// Ties the result to the call; never empty.
        id: String,
        /// The function.
        name: String,
        /// Gemini's `thoughtSignature`.
        signature: Option<Signature>,
    },
    /// More of a call's arguments. The fragments of one call join to JSON text.
    ToolArguments {
        /// The call's number.
        index: usize,
        /// A piece of JSON text.
        fragment: String,
    },
    /// Tokens so far; a later report completes an earlier one ([`Usage::merged`]).
    Usage(Usage),
}

impl Delta {
    /// Whether a person or program would call this the beginning of an answer. Until the first such
    /// delta nothing goes to the client, so that a failure can still be mended elsewhere.
    pub fn is_meaningful(&self) -> bool {
        match self {
            Self::Reasoning(text) | Self::Refusal(text) | Self::Text(text) => !text.is_empty(),
            Self::Finish(_) | Self::RedactedReasoning(_) | Self::ToolCall { .. } => true,
            Self::Logprobs(_)
            | Self::ReasoningSignature(_)
            | Self::Start { .. }
            | Self::ToolArguments { .. }
            | Self::Usage(_) => false,
        }
    }
}

/// Why a stream or an answer could not be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The bytes are not what the dialect promises.
    #[error("malformed answer: {0}")]
    Malformed(String),
    /// The provider said inside the stream that it failed.
    #[error("the provider failed while answering: {}", .0.message)]
    Provider(ProviderError),
    /// The bytes ended before the dialect's terminal marker.
    #[error("the answer was cut off")]
    Truncated,
}

/// Reads an upstream's stream.
pub trait Decode {
    /// Takes one event and appends what it means. After [`Delta::Finish`] and the dialect's terminal
    /// marker, further events are ignored.
    ///
    /// # Errors
    /// When the provider reports a failure, or the event is not what the dialect promises.
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError>;

    /// Whether the dialect's terminal marker has come: nothing of value follows.
    fn is_complete(&self) -> bool;

    /// Takes the end of the bytes, and appends what only then is known.
    ///
    /// # Errors
    /// [`StreamError::Truncated`] when the terminal marker has not come.
    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamError>;
}

/// Writes a client's stream. Bytes are appended to `out` as whole events.
pub trait Encode {
    /// Takes one delta.
    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>);

    /// Ends a complete answer with the dialect's own end.
    fn complete(&mut self, out: &mut Vec<u8>);

    /// Ends a broken answer with the dialect's own error event, which never looks like success.
    fn fail(&mut self, error: &ApiError, request_id: &str, out: &mut Vec<u8>);
}

/// Looks into a stream whose bytes pass untouched.
pub trait Watch {
    /// Says what one event is. `raw` is the event as it came, with its final blank line.
    fn event(&mut self, raw: &[u8]) -> Seen;

    /// Whether the dialect's terminal marker has come, or all that matters of the answer.
    fn is_complete(&self) -> bool;

    /// Tokens reported so far.
    fn usage(&self) -> Option<Usage>;
}

/// What an event of an untouched stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A part of the answer.
    Content,
    /// The provider reports that it failed. The event itself must not be forwarded: we write our own.
    Error(ProviderError),
    /// Nothing that a client would miss yet: a role, a ping, a comment, an empty delta.
    Idle,
    /// The dialect's terminal marker (`[DONE]`, `message_stop`).
    Terminal,
    /// An event that carries nothing but usage; left out where the client did not ask for it.
    Usage,
}
