//! What a codec of a dialect can do, on the client's side and on the upstream's, and what it is told.

use bytes::Bytes;

use super::{
    chat::{ChatRequest, ChatResponse},
    error::{ApiError, ErrorKind, Loss, ProviderError, Refusal, RequestError},
    stream::{Decode, Encode, StreamError, Watch},
    traits::Traits,
    usage::Usage,
};

/// The client's side of a dialect: its requests come in, our answers go out.
pub trait Client: Sync {
    /// Reads a request into the common form.
    ///
    /// Fields without a place in the common form go to [`ChatRequest::rest`], where each encoder
    /// reports them as lost. A request that the real API would refuse is a [`RequestError`].
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, RequestError>;

    /// Writes a whole answer. `view` is what this caller should see of itself.
    fn encode_response(&self, response: &ChatResponse, view: &View) -> Vec<u8>;

    /// Starts writing a streamed answer.
    fn encode_stream(&self, view: &View) -> Box<dyn Encode>;

    /// Writes an error body in the shape that this API's SDKs raise as their own exceptions.
    fn encode_error(&self, error: &ApiError, request_id: &str) -> Vec<u8>;

    /// The HTTP status for an error of this kind: OpenAI has no 529, Anthropic has.
    fn status(&self, kind: ErrorKind) -> u16;

    /// The event that ends a stream which broke after bytes had gone out, for streams whose bytes
    /// pass untouched. Never `[DONE]` or `message_stop`.
    fn stream_error(&self, error: &ApiError, request_id: &str) -> Vec<u8>;

    /// What ends a complete stream. Written for a provider that ends its own without it, where the
    /// bytes pass untouched.
    fn stream_end(&self) -> &'static [u8];

    /// This API's own name of a field that an encoder calls by OpenAI's, as losses and refusals do.
    fn own_name(&self, field: &str) -> String;

    /// The body of `GET /v1/models`.
    fn list_models(&self, models: &[Model<'_>]) -> Vec<u8>;

    /// The body of `GET /v1/models/{id}`.
    fn show_model(&self, model: &Model<'_>) -> Vec<u8>;
}

/// The upstream's side of a dialect: our requests go out, its answers come in.
pub trait Upstream: Sync {
    /// The path (with query) below the provider's base path. `model` is safe in a path: `compile`
    /// has refused names that are not.
    fn path(&self, model: &str, stream: bool) -> String;

    /// Writes a request for a target, saying what was lost on the way.
    ///
    /// # Errors
    /// A [`Refusal`] where sending less would change what the answer means.
    fn encode_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
    ) -> Result<Encoded, Refusal>;

    /// Reads a whole answer.
    fn decode_response(&self, body: &[u8]) -> Result<ChatResponse, StreamError>;

    /// Starts reading a streamed answer.
    fn decode_stream(&self) -> Box<dyn Decode>;

    /// Starts looking into a stream whose bytes pass untouched.
    fn watch_stream(&self) -> Box<dyn Watch>;

    /// The usage in a whole answer whose bytes pass untouched; reads only that part of it.
    fn usage(&self, body: &[u8]) -> Option<Usage>;

    /// Reads an error answer. `retry_after` of the result is set only from the body (Gemini's
    /// `RetryInfo`); the caller knows the headers.
    fn decode_error(&self, status: u16, body: &[u8]) -> ProviderError;
}

/// What a request encoder must know of the target.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The upstream's own name of the model.
    pub model: &'a str,
    /// What this model takes and refuses.
    pub traits: &'a Traits,
    /// Whether the provider fetches pictures and documents from public https URLs. Asked by Gemini's
    /// encoder alone: the other dialects promise it.
    pub fetches_urls: bool,
}

/// What an answer encoder must know of the caller's request.
#[derive(Clone, Debug)]
pub struct View {
    /// The model name that the client asked for; the answer repeats it.
    pub model: String,
    /// Seconds since the Unix epoch, for `created`.
    pub created: u64,
    /// Whether a streamed answer ends with usage although the dialect leaves it to the caller.
    pub include_usage: bool,
}

/// A request body for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The JSON body.
    pub body: Bytes,
    /// What the target cannot do and was told to the client in `x-trunkline-dropped`.
    pub losses: Vec<Loss>,
}

/// One model in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model<'a> {
    /// The name that a client may ask for.
    pub id: &'a str,
    /// Who offers it: the route's namespace.
    pub owner: &'a str,
    /// Seconds since the Unix epoch; 0 where unknown.
    pub created: u64,
}
