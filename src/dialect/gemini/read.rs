//! Answers, streams and errors, read.

use std::time::Duration;

use serde_json::Value;

use crate::dialect::{
    ChatResponse, Decode, Delta, Dialect, ErrorClass, ProviderError, StreamError, Usage,
    chat::{Choice, Finish, Part, ReasoningPart, Signature, TokenLogprob, ToolCall},
    json::{count, list, text, words},
    sse::Event,
};

/// Marks ids of calls that we minted because the provider gave none; they are not sent back.
pub(super) const MINTED: &str = "call_tl";

/// Reads a whole answer: each candidate is read as a stream of one event would be.
pub(super) fn whole(body: &[u8]) -> Result<ChatResponse, StreamError> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| StreamError::Malformed(error.to_string()))?;
    let mut response = ChatResponse::default();
    let candidates = list(value.get(0).unwrap_or(&value), "candidates").len();
    for at in 0..candidates.max(1) {
        let mut decoder = Decoder { candidate: at, ..Decoder::default() };
        let mut deltas = Vec::new();
        decoder.read(&value, &mut deltas)?;
        decoder.end(&mut deltas)?;
        let mut choice = Choice::default();
        for delta in deltas {
            take(delta, &mut choice, &mut response);
        }
        response.choices.push(choice);
    }
    Ok(response)
}

fn take(delta: Delta, choice: &mut Choice, response: &mut ChatResponse) {
    match delta {
        Delta::Start { id, model } => (response.id, response.model) = (id, model),
        Delta::Usage(usage) => response.usage = Some(usage),
        Delta::Finish(finish) => choice.finish = finish,
        Delta::Logprobs(tokens) => choice.logprobs = Some(tokens),
        Delta::Text(words) => match choice.parts.last_mut() {
            Some(Part::Text(before)) => before.push_str(&words),
            _ => choice.parts.push(Part::Text(words)),
        },
        Delta::Refusal(words) => choice.parts.push(Part::Refusal(words)),
        Delta::Reasoning(text) => match choice.parts.last_mut() {
            Some(Part::Reasoning(before)) if before.signature.is_none() => {
                before.text.push_str(&text);
            }
            _ => {
                let part = ReasoningPart { text, ..ReasoningPart::default() };
                choice.parts.push(Part::Reasoning(part));
            }
        },
        Delta::ReasoningSignature(signature) => match choice.parts.last_mut() {
            Some(Part::Reasoning(before)) => before.signature = Some(signature),
            _ => choice.parts.push(Part::Reasoning(ReasoningPart {
                signature: Some(signature),
                ..ReasoningPart::default()
            })),
        },
        Delta::ToolCall { id, name, signature, .. } => {
            let arguments = String::new();
            choice.parts.push(Part::ToolCall(ToolCall { id, name, arguments, signature }));
        }
        Delta::ToolArguments { fragment, .. } => {
            if let Some(Part::ToolCall(call)) = choice.parts.last_mut() {
                call.arguments.push_str(&fragment);
            }
        }
        // Gemini hides no thinking whole.
        Delta::RedactedReasoning(_) => {}
    }
}

/// Reads a stream; a whole answer is a stream of one event.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    /// Which candidate is read; streams have one.
    candidate: usize,
    /// The provider's id of the answer.
    answer: String,
    calls: usize,
    finish: Option<Finish>,
}

impl Decode for Decoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if event.data.is_empty() {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(&event.data)
            .map_err(|error| StreamError::Malformed(error.to_string()))?;
        self.read(&value, out)
    }

    fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        // A call may come in an event after the one with the reason, so the reason is told last.
        let finish = self.finish.take().ok_or(StreamError::Truncated)?;
        let called = self.calls > 0 && finish == Finish::Stop;
        out.push(Delta::Finish(if called { Finish::ToolCalls } else { finish }));
        Ok(())
    }
}

impl Decoder {
    fn read(&mut self, value: &Value, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        // Answers of non-SSE streams are wrapped in an array.
        let value = value.get(0).unwrap_or(value);
        if let Some(failure) = value.get("error") {
            return Err(StreamError::Provider(of_value(0, failure)));
        }
        if !self.started {
            self.started = true;
            let field = |key| text(value, key).unwrap_or_default().to_owned();
            self.answer = field("responseId");
            out.push(Delta::Start { id: self.answer.clone(), model: field("modelVersion") });
        }
        // First, so that a stream can begin with what was read.
        out.extend(value.get("usageMetadata").and_then(usage).map(Delta::Usage));
        if let Some(reason) = value.pointer("/promptFeedback/blockReason").and_then(Value::as_str) {
            out.push(Delta::Refusal(format!("blocked: {reason}")));
            self.finish = Some(Finish::ContentFilter);
        }
        let candidate = list(value, "candidates").get(self.candidate).unwrap_or(&Value::Null);
        for part in list(candidate.get("content").unwrap_or(&Value::Null), "parts") {
            self.part(part, out);
        }
        out.extend(candidate.get("logprobsResult").map(logprobs).map(Delta::Logprobs));
        if let Some(reason) = text(candidate, "finishReason") {
            self.finish = Some(finish(reason)?);
        }
        Ok(())
    }

    /// An id for a call that came without one. It must not come twice in a conversation, so the
    /// answer's own is in it, in the letters and the length that every dialect takes.
    fn mint(&self, index: usize) -> String {
        const MOST: usize = 24;
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let answer: String = self.answer.chars().filter(allowed).take(MOST).collect();
        format!("{MINTED}{index}_{answer}")
    }

    fn part(&mut self, part: &Value, out: &mut Vec<Delta>) {
        let signature = text(part, "thoughtSignature")
            .map(|data| Signature { dialect: Dialect::Gemini, data: data.to_owned() });
        if let Some(call) = part.get("functionCall") {
            let index = self.calls;
            self.calls += 1;
            let name = text(call, "name").unwrap_or_default().to_owned();
            let id = text(call, "id").map_or_else(|| self.mint(index), str::to_owned);
            let fragment = call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string);
            out.push(Delta::ToolCall { index, id, name, signature });
            out.push(Delta::ToolArguments { index, fragment });
            return;
        }
        if let Some(words) = text(part, "text").filter(|words| !words.is_empty()) {
            let thought = part.get("thought") == Some(&Value::Bool(true));
            let words = words.to_owned();
            out.push(if thought { Delta::Reasoning(words) } else { Delta::Text(words) });
        }
        out.extend(signature.map(Delta::ReasoningSignature));
    }
}

/// What a finish reason means; those that say that nothing usable came are failures.
fn finish(reason: &str) -> Result<Finish, StreamError> {
    match reason {
        "MAX_TOKENS" | "CONTINUATION" => Ok(Finish::Length),
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
        | "MODEL_ARMOR" | "ESCALATION" => Ok(Finish::ContentFilter),
        reason if reason.starts_with("IMAGE_") => Ok(Finish::ContentFilter),
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => Err(StreamError::Provider(ProviderError {
            class: ErrorClass::Server,
            status: 0,
            message: format!("the model stopped with {reason}"),
            code: Some(reason.to_owned()),
            param: None,
            retry_after: None,
        })),
        _ => Ok(Finish::Stop),
    }
}

/// Gemini counts thoughts apart from the answer; see [`Usage`].
pub(super) fn usage(value: &Value) -> Option<Usage> {
    let reasoning = count(value, "thoughtsTokenCount");
    let input = count(value, "promptTokenCount")?;
    Some(Usage {
        input: input + count(value, "toolUsePromptTokenCount").unwrap_or(0),
        cached: count(value, "cachedContentTokenCount"),
        output: count(value, "candidatesTokenCount").unwrap_or(0) + reasoning.unwrap_or(0),
        reasoning,
        ..Usage::default()
    })
}

fn logprobs(value: &Value) -> Vec<TokenLogprob> {
    let one = |entry: &Value| {
        Some((text(entry, "token")?.to_owned(), entry.get("logProbability")?.as_f64()?))
    };
    let tops = list(value, "topCandidates");
    let chosen = list(value, "chosenCandidates").iter().enumerate();
    chosen
        .filter_map(|(at, entry)| {
            let (token, logprob) = one(entry)?;
            let top = tops.get(at).map(|top| list(top, "candidates")).unwrap_or_default();
            Some(TokenLogprob { token, logprob, top: top.iter().filter_map(one).collect() })
        })
        .collect()
}

pub(super) fn error(status: u16, body: &[u8]) -> ProviderError {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let value = value.get(0).cloned().unwrap_or(value);
    of_value(status, value.get("error").unwrap_or(&value))
}

fn of_value(status: u16, error: &Value) -> ProviderError {
    let message = text(error, "message").unwrap_or_default();
    let word = text(error, "status");
    let delay = list(error, "details").iter().find_map(|detail| text(detail, "retryDelay"));
    let delay = delay.and_then(|delay| delay.strip_suffix('s')?.parse::<f64>().ok());
    let class = match (word, status) {
        // A wrong key is told as a malformed request.
        _ if message.contains("API key not valid") || message.contains("API_KEY_INVALID") => {
            ErrorClass::CredentialRejected
        }
        _ if message.contains("exceeds the maximum number of tokens") => {
            ErrorClass::ContextExceeded
        }
        (Some("UNAUTHENTICATED" | "PERMISSION_DENIED"), _) | (None, 401 | 403) => {
            ErrorClass::CredentialRejected
        }
        (Some("NOT_FOUND"), _) | (None, 404) => ErrorClass::ModelNotFound,
        (Some("RESOURCE_EXHAUSTED"), _) | (None, 429) => ErrorClass::RateLimited,
        (Some("UNAVAILABLE"), _) | (None, 503) => ErrorClass::Overloaded,
        (Some("DEADLINE_EXCEEDED"), _) | (None, 504) => ErrorClass::Timeout,
        (Some("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE"), _) | (None, 400) => {
            ErrorClass::InvalidRequest
        }
        _ => ErrorClass::Server,
    };
    ProviderError {
        class,
        status,
        message: words(message),
        code: word.map(str::to_owned),
        param: None,
        retry_after: delay.and_then(|delay| Duration::try_from_secs_f64(delay).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_makes_the_end_a_tool_call_wherever_the_reason_stands() {
        let body = br#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"x":1}},"thoughtSignature":"cw=="}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"thoughtsTokenCount":3}}"#;
        let response = whole(body).unwrap();
        assert_eq!(response.choices[0].finish, Finish::ToolCalls);
        assert_eq!(response.usage.unwrap().output, 5);
        let Part::ToolCall(call) = &response.choices[0].parts[0] else { panic!("a call") };
        assert_eq!((call.arguments.as_str(), call.signature.is_some()), ("{\"x\":1}", true));
    }

    #[test]
    fn an_answer_without_a_reason_is_cut_and_a_wrong_key_is_ours() {
        let cut = br#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
        assert_eq!(whole(cut), Err(StreamError::Truncated));
        let key =
            br#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!(error(400, key).class, ErrorClass::CredentialRejected);
        let limited =
            br#"[{"error":{"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"34.4s"}]}}]"#;
        assert_eq!(error(429, limited).retry_after, Some(Duration::from_millis(34_400)));
    }
}
