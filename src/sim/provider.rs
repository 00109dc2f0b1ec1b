//! Whose API is played, by name.

use http::HeaderMap;
use serde::Deserialize;

/// Whose API is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Provider {
    /// Anthropic's `POST /v1/messages`.
    Anthropic,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    Gemini,
    /// OpenAI's `POST /v1/chat/completions`.
    #[serde(rename = "OpenAI")]
    OpenAi,
}

impl Provider {
    /// A word for logs and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
        }
    }

    /// The API key of a request.
    pub(super) fn key<'a>(self, headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
        let bearer =
            header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = match self {
            Self::Anthropic => header(headers, "x-api-key").or(bearer),
            Self::OpenAi => bearer,
            Self::Gemini => header(headers, "x-goog-api-key").or_else(|| {
                query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("key="))
            }),
        };
        key.filter(|key| !key.is_empty())
    }
}

/// A header's text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
