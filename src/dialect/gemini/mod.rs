//! Gemini's `generateContent` and `streamGenerateContent`, towards upstreams.
//!
//! Source: the types of Google's `google-genai` SDK (3.4, November 2026). The path is `v1beta`,
//! whose fields include all of `v1`. There is no terminal marker: an answer is complete when its
//! finish reason has come.

mod contents;
mod read;
mod schema;
mod write;

use super::{
    ChatRequest, ChatResponse, Decode, Encoded, ProviderError, Refusal, Seen, StreamError, Target,
    Upstream, Usage, Watch, sse::Event,
};

/// The dialect of `POST …:generateContent`.
#[derive(Clone, Copy, Debug)]
pub struct GenerateContent;

impl Upstream for GenerateContent {
    fn path(&self, model: &str, stream: bool) -> String {
        let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        format!("/v1beta/models/{model}:{method}")
    }

    fn encode_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
    ) -> Result<Encoded, Refusal> {
        write::encode(request, target)
    }

    fn decode_response(&self, body: &[u8]) -> Result<ChatResponse, StreamError> {
        read::whole(body)
    }

    fn decode_stream(&self) -> Box<dyn Decode> {
        Box::new(read::Decoder::default())
    }

    fn watch_stream(&self) -> Box<dyn Watch> {
        Box::new(Watcher::default())
    }

    fn usage(&self, body: &[u8]) -> Option<Usage> {
        super::json::last(body, b"\"usageMetadata\"", |value: serde_json::Value| {
            read::usage(&value)
        })
    }

    fn decode_error(&self, status: u16, body: &[u8]) -> ProviderError {
        read::error(status, body)
    }
}

/// Looks into a stream by reading it: no client speaks this dialect yet, so nothing passes untouched.
#[derive(Debug, Default)]
struct Watcher {
    decoder: read::Decoder,
    begun: bool,
    usage: Option<Usage>,
}

impl Watch for Watcher {
    fn event(&mut self, raw: &[u8]) -> Seen {
        let mut deltas = Vec::new();
        match self.decoder.event(&Event::parse(raw), &mut deltas) {
            Err(StreamError::Provider(error)) => return Seen::Error(error),
            Err(StreamError::Malformed(_) | StreamError::Truncated) | Ok(()) => {}
        }
        for delta in &deltas {
            self.begun |= delta.is_meaningful();
            if let super::Delta::Usage(usage) = delta {
                self.usage = Some(*usage);
            }
        }
        if self.begun { Seen::Content } else { Seen::Idle }
    }

    fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
