//! Which dialects and which client APIs there are, by name. How each is spoken stands in its folder.

use std::fmt;

/// A wire format that an upstream may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// Anthropic's `POST /v1/messages`.
    AnthropicMessages,
    /// Google's `POST …/models/{model}:generateContent` and `:streamGenerateContent`.
    Gemini,
    /// OpenAI's `POST /v1/chat/completions`.
    OpenAiChat,
}

impl Dialect {
    /// Every dialect, for tables and tests.
    pub const ALL: [Self; 3] = [Self::AnthropicMessages, Self::Gemini, Self::OpenAiChat];

    /// The bounded name used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::Gemini => "gemini",
            Self::OpenAiChat => "openai_chat",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An API that clients may call. Its names are those of `spec.match.apis`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Api {
    /// `POST /v1/chat/completions`, as OpenAI's SDKs call it.
    ChatCompletions,
    /// `POST /v1/messages`, as Anthropic's SDKs call it.
    Messages,
}

impl Api {
    /// Every client API, for tables and tests.
    pub const ALL: [Self; 2] = [Self::ChatCompletions, Self::Messages];

    /// The name in `spec.match.apis`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "ChatCompletions",
            Self::Messages => "Messages",
        }
    }

    /// The dialect whose bytes this API shares, so that they may pass untouched.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions => Dialect::OpenAiChat,
            Self::Messages => Dialect::AnthropicMessages,
        }
    }
}
