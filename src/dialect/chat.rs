//! The common form of a chat: what every dialect can be read into and written from.
//!
//! It holds what at least two dialects can express, in the terms of the one that expresses it best,
//! and keeps order wherever an order means something. What only one dialect knows stays by name in
//! [`ChatRequest::rest`], so that an encoder for another dialect can say that it was lost.
//!
//! Nothing here is ever forwarded as it stands: same-dialect traffic never takes this form.

use serde_json::{Map, Value};

use super::{Dialect, Usage};

/// A chat request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest {
    /// The model name as the client wrote it.
    pub model: String,
    /// The conversation in order, system and developer messages where they stood.
    pub messages: Vec<Message>,
    /// The functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether and what it must call; `None` leaves the provider's default.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; `None` leaves the provider's default.
    pub parallel_tool_calls: Option<bool>,
    /// The most tokens to write, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The form that the answer must have.
    pub output: OutputFormat,
    /// How much to think before answering.
    pub reasoning: Option<Reasoning>,
    /// How many alternatives to report for each token; `Some(0)` reports the chosen ones alone.
    pub logprobs: Option<u64>,
    /// How many answers to write. 1 unless the client asked for more.
    pub choices: Option<u64>,
    /// An opaque name of the end user, for the provider's abuse checks.
    pub user: Option<String>,
    /// Whether to stream.
    pub stream: bool,
    /// Whether the stream must end with usage although the dialect leaves that to the client.
    pub include_usage: bool,
    /// Everything else that the client wrote, by its own name. Encoders report each as lost.
    pub rest: Map<String, Value>,
}

/// How tokens are drawn. Each field is the client's own value, unclamped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2 for OpenAI and Gemini, 0 to 1 for Anthropic.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Not in OpenAI's dialect.
    pub top_k: Option<u64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// A wish for the same answer again.
    pub seed: Option<i64>,
    /// Token id to bias; OpenAI only.
    pub logit_bias: Option<Map<String, Value>>,
}

/// One turn, or a part of one: consecutive messages of one role belong to one turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// A name for the speaker; only OpenAI has it.
    pub name: Option<String>,
    /// What is said, in order. Tool results stand in a [`Role::User`] message, before its text.
    pub parts: Vec<Part>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The model.
    Assistant,
    /// The application, to newer OpenAI models.
    Developer,
    /// The application.
    System,
    /// The person, or the tools.
    User,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Sound. `data` is base64, `format` a word such as `wav`.
    Audio {
        /// The base64 of the sound.
        data: String,
        /// `wav`, `mp3`.
        format: String,
    },
    /// A document.
    File {
        /// Its name or title.
        name: Option<String>,
        /// Where its content is.
        source: Source,
    },
    /// A picture.
    Image {
        /// Where its content is.
        source: Source,
        /// OpenAI's `auto`, `low`, `high`, `original`.
        detail: Option<String>,
    },
    /// The model's thinking.
    Reasoning(ReasoningPart),
    /// The model's words for why it will not answer.
    Refusal(String),
    /// Words.
    Text(String),
    /// The model's call of a function.
    ToolCall(ToolCall),
    /// What a called function gave back.
    ToolResult(ToolResult),
}

/// Where the content of a picture or document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Here, as base64.
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        /// The base64.
        data: String,
    },
    /// In the file store of one provider.
    FileId(String),
    /// Here, as plain text.
    Text(String),
    /// At an address that the provider fetches.
    Url(String),
}

/// Thinking, as shown to the client and as the provider wants it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasoningPart {
    /// The visible text; empty where the provider shows none.
    pub text: String,
    /// The provider's proof that the text is its own.
    pub signature: Option<Signature>,
    /// True for thinking that the provider has encrypted whole: `signature` then holds all of it.
    pub redacted: bool,
}

/// An opaque value that must go back to the dialect that made it, and to no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which dialect understands it.
    pub dialect: Dialect,
    /// The value, as that dialect wrote it.
    pub data: String,
}

/// A call of a function by the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Ties the result to the call. Never empty: minted where the dialect has none.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments, as JSON text; `{}` where there are none.
    pub arguments: String,
    /// Gemini's `thoughtSignature`, without which it refuses to go on.
    pub signature: Option<Signature>,
}

/// What a called function gave back.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The id of the call.
    pub call_id: String,
    /// The function's name, looked up from the call where the dialect does not repeat it.
    pub name: Option<String>,
    /// Text, pictures, documents.
    pub parts: Vec<Part>,
    /// Whether the call failed.
    pub is_error: bool,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// A JSON Schema of its arguments.
    pub parameters: Option<Value>,
    /// Whether arguments must match the schema.
    pub strict: Option<bool>,
}

/// Whether and what the model must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    Auto,
    /// Not at all.
    None,
    /// Something.
    Required,
    /// This one.
    Tool(String),
}

/// The form that an answer must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// OpenAI's name for it.
        name: Option<String>,
        /// What it is.
        description: Option<String>,
        /// The JSON Schema.
        schema: Value,
        /// Whether the match is enforced.
        strict: Option<bool>,
    },
    /// Words.
    #[default]
    Text,
}

/// How much to think.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// The client's ladder step, if it gave one.
    pub effort: Option<Effort>,
    /// Tokens for thinking, if the client gave a number (older dialects); 0 turns it off.
    pub budget: Option<u64>,
    /// Whether the client wants the thinking shown; `None` leaves the provider's default.
    pub visible: Option<bool>,
}

/// The ladder of reasoning effort, as all providers have it by now (each a part of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// No thinking.
    None,
    /// The least there is.
    Minimal,
    /// A little.
    Low,
    /// The usual.
    Medium,
    /// Much.
    High,
    /// More than much.
    XHigh,
    /// All there is.
    Max,
}

impl Effort {
    /// The word that OpenAI and Anthropic use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads the word that OpenAI and Anthropic use.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::XHigh,
            "max" => Self::Max,
            _ => return None,
        })
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatResponse {
    /// The provider's id of it.
    pub id: String,
    /// The provider's name of the model that answered.
    pub model: String,
    /// One answer, or as many as were asked for.
    pub choices: Vec<Choice>,
    /// What it cost; `None` where the provider did not say.
    pub usage: Option<Usage>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Text, reasoning, refusal and tool calls, in the order in which they were written.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish: Finish,
    /// One entry a token, where asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

/// Why an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// The provider filtered it, or the model refused.
    ContentFilter,
    /// It reached the length limit or the end of the context.
    Length,
    /// It was complete.
    #[default]
    Stop,
    /// It wrote one of the stop texts; which one, where the provider says.
    StopSequence(Option<String>),
    /// It waits for the results of tool calls.
    ToolCalls,
}

/// A token, how likely it was, and what else it might have been.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// Alternatives, likeliest first.
    pub top: Vec<(String, f64)>,
}
