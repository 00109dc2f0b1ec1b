//! What OpenAI and compatible servers write, as far as we read it.
//!
//! Read into these and not into a tree, because a stream has one chunk a token. Fields whose type
//! differs between servers are values: a string costs the same there, and a null nothing. What is
//! not named here is skipped.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::error;
use crate::dialect::{
    StreamError,
    chat::{Finish, TokenLogprob},
    error::{ErrorClass, ProviderError},
    json::{list, text},
};

/// One event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'a> {
    /// The same in every chunk, so it is read out of the first alone.
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    /// Likewise.
    #[serde(borrow)]
    pub model: Option<&'a RawValue>,
    /// Empty or missing in the chunk with the usage.
    pub choices: Option<Vec<ChunkChoice>>,
    /// Null in most chunks.
    pub usage: Value,
    /// Groq's place for usage and errors.
    pub x_groq: Value,
    /// How the request was served.
    pub service_tier: Value,
    /// A failure after the headers had gone out.
    pub error: Value,
    /// Cerebras writes the status that the failure would have had.
    pub status_code: Value,
}

/// A step of one answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ChunkChoice {
    /// Which answer.
    pub index: Value,
    /// Missing in the last chunk of some servers.
    pub delta: Option<Said>,
    /// Null until the end; but `""` in every chunk of some servers.
    pub finish_reason: Value,
    /// Probabilities.
    pub logprobs: Value,
}

/// A whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    pub id: Value,
    pub model: Value,
    pub choices: Option<Vec<ResponseChoice>>,
    pub usage: Value,
    pub service_tier: Value,
    pub x_groq: Value,
    pub error: Value,
}

/// One of its alternatives.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseChoice {
    pub message: Option<Said>,
    pub finish_reason: Value,
    pub logprobs: Value,
}

/// What was said: a whole message, or the next piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    /// Text; a list of parts for Mistral's reasoning models.
    pub content: Value,
    /// The older name of thinking.
    pub reasoning_content: Value,
    /// The newer one. Some servers write both.
    pub reasoning: Value,
    /// Why the model will not answer.
    pub refusal: Value,
    /// Calls.
    pub tool_calls: Option<Vec<Call>>,
    /// The one call of the form of 2023.
    pub function_call: Option<Function>,
}

/// A call, or the next piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    /// Which call, in a stream; some servers leave it out.
    pub index: Value,
    /// In its first piece only, or in each.
    pub id: Value,
    /// What is called.
    pub function: Option<Function>,
}

/// A function and its arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    /// In the first piece only, or in each.
    pub name: Value,
    /// JSON text; some servers write the object itself.
    pub arguments: Value,
}

impl Said {
    /// The thinking, under either of its names or as Mistral's parts.
    pub(super) fn take_reasoning(&mut self) -> Option<String> {
        let older = non_empty(self.reasoning_content.take());
        older.or_else(|| non_empty(self.reasoning.take())).or_else(|| {
            let parts = self.content.as_array()?.iter();
            let thought: String = parts
                .filter(|part| text(part, "type") == Some("thinking"))
                .flat_map(|part| list(part, "thinking"))
                .filter_map(|inner| text(inner, "text"))
                .collect();
            Some(thought).filter(|thought| !thought.is_empty())
        })
    }

    /// The text.
    pub(super) fn take_content(&mut self) -> Option<String> {
        let content = self.content.take();
        let Value::Array(parts) = content else { return non_empty(content) };
        let words: String = parts.iter().filter_map(|part| text(part, "text")).collect();
        Some(words).filter(|words| !words.is_empty())
    }

    /// The words of a refusal.
    pub(super) fn take_refusal(&mut self) -> Option<String> {
        non_empty(self.refusal.take())
    }

    /// Every call, in the form of today.
    pub(super) fn take_calls(&mut self) -> Vec<Call> {
        match (self.tool_calls.take(), self.function_call.take()) {
            (None, Some(function)) => vec![Call { function: Some(function), ..Call::default() }],
            (calls, _) => calls.unwrap_or_default(),
        }
    }
}

impl Function {
    /// The arguments as JSON text; empty where there are none (yet).
    pub(super) fn take_arguments(&mut self) -> String {
        match self.arguments.take() {
            Value::String(text) => text,
            object @ Value::Object(_) => object.to_string(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => String::new(),
        }
    }
}

/// A text that is there and says something.
pub(super) fn non_empty(value: Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    Some(text).filter(|text| !text.is_empty())
}

/// The text of a field that was left unread.
pub(super) fn raw_text(raw: Option<&RawValue>) -> String {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// The failure that a body or chunk reports, if it does. Some servers write `null`, `""` or `false`
/// where there is none.
pub(super) fn failure(error: &Value, x_groq: &Value, status: &Value) -> Option<ProviderError> {
    let told = |error: &Value| match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    };
    let error = [Some(error), x_groq.get("error")].into_iter().flatten().find(|e| told(e))?;
    Some(error::in_stream(error, status.as_u64()))
}

/// Why an answer ended; `None` where the server does not say, or says a word that means nothing
/// more than that it ended.
///
/// # Errors
/// When it ended because the server failed: what was written is no answer.
pub(super) fn finish(reason: &Value) -> Result<Option<Finish>, StreamError> {
    let failed = |class| {
        StreamError::Provider(ProviderError {
            class,
            status: 0,
            message: "the server gave up while answering".to_owned(),
            code: reason.as_str().map(str::to_owned),
            param: None,
            retry_after: None,
        })
    };
    match reason.as_str().unwrap_or_default() {
        "length" | "model_length" | "max_tokens" => Ok(Some(Finish::Length)),
        "content_filter" => Ok(Some(Finish::ContentFilter)),
        "tool_calls" | "function_call" => Ok(Some(Finish::ToolCalls)),
        "insufficient_system_resource" => Err(failed(ErrorClass::Overloaded)),
        "error" | "abort" => Err(failed(ErrorClass::Server)),
        _ => Ok(None),
    }
}

/// Why an answer ended, as far as what it holds can tell.
pub(super) const fn finish_by_content(called: bool) -> Finish {
    if called { Finish::ToolCalls } else { Finish::Stop }
}

/// Probabilities, where there are any.
pub(super) fn logprobs(value: &Value) -> Option<Vec<TokenLogprob>> {
    let content = value.get("content")?.as_array()?;
    let one =
        |entry: &Value| Some((text(entry, "token")?.to_owned(), entry.get("logprob")?.as_f64()?));
    let read = content.iter().filter_map(|entry| {
        let (token, logprob) = one(entry)?;
        let top = list(entry, "top_logprobs").iter().filter_map(one).collect();
        Some(TokenLogprob { token, logprob, top })
    });
    Some(read.collect())
}

/// Reads a body or an event.
///
/// # Errors
/// When it is not what OpenAI's dialect promises. The parser's own words may repeat the answer, so
/// they are not told.
pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StreamError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "has fields of unknown shape" } else { "is not JSON" };
        StreamError::Malformed(format!("the answer {what} (column {})", error.column()))
    })
}
