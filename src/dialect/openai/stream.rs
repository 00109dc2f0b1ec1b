//! Streams, read and written.
//!
//! What we write keeps a contract that OpenAI's SDKs accumulate by: the role first, `id`, `name` and
//! `type` of a call once, arguments that join to JSON, one finish reason, usage only where asked for
//! and then with no choices, `[DONE]` last and only after a complete answer.

use serde_json::{Value, json};

use super::{error, response};
use crate::dialect::{
    ApiError, Decode, Delta, Encode, StreamError, Usage, View,
    chat::{Finish, Signature},
    json::{list, push_string, text},
    sse::Event,
};

/// Reads an upstream's stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    started: bool,
    done: bool,
    finish: Option<Option<String>>,
    /// The upstream's index of each call, in the order in which the calls began.
    calls: Vec<u64>,
}

impl Decode for Decoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.done || event.data.is_empty() {
            return Ok(());
        }
        if event.data.starts_with(b"[DONE]") {
            self.done = true;
            return Ok(());
        }
        let chunk: Value = serde_json::from_slice(&event.data)
            .map_err(|error| StreamError::Malformed(error.to_string()))?;
        if let Some(failure) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(StreamError::Provider(error::of_value(0, failure)));
        }
        if !self.started && chunk.get("choices").is_some() {
            self.started = true;
            let field = |key| text(&chunk, key).unwrap_or_default().to_owned();
            out.push(Delta::Start { id: field("id"), model: field("model") });
        }
        if let Some(choice) = chunk.get("choices").and_then(|choices| choices.get(0)) {
            self.choice(choice, out);
        }
        if let Some(usage) = response::chunk_usage(&chunk) {
            out.push(Delta::Usage(usage));
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }

    fn end(&mut self, _out: &mut Vec<Delta>) -> Result<(), StreamError> {
        // Some servers never write [DONE]; a finish reason then has to do.
        if self.done || self.finish.is_some() { Ok(()) } else { Err(StreamError::Truncated) }
    }
}

impl Decoder {
    fn choice(&mut self, choice: &Value, out: &mut Vec<Delta>) {
        let delta = choice.get("delta").unwrap_or(&Value::Null);
        if let Some(words) = response::reasoning(delta) {
            out.push(Delta::Reasoning(words.to_owned()));
        }
        if let Some(words) = text(delta, "content").filter(|words| !words.is_empty()) {
            out.push(Delta::Text(words.to_owned()));
        }
        if let Some(words) = text(delta, "refusal").filter(|words| !words.is_empty()) {
            out.push(Delta::Refusal(words.to_owned()));
        }
        for (at, call) in list(delta, "tool_calls").iter().enumerate() {
            self.call(call, at as u64, out);
        }
        if let Some(tokens) = choice.get("logprobs").and_then(response::logprobs) {
            out.push(Delta::Logprobs(tokens));
        }
        if let Some(reason) = choice.get("finish_reason").filter(|reason| !reason.is_null())
            && self.finish.is_none()
        {
            let reason = reason.as_str();
            self.finish = Some(reason.map(str::to_owned));
            out.push(Delta::Finish(response::finish(reason, !self.calls.is_empty())));
        }
    }

    fn call(&mut self, call: &Value, at: u64, out: &mut Vec<Delta>) {
        let function = call.get("function").unwrap_or(&Value::Null);
        let number = call.get("index").and_then(Value::as_u64).unwrap_or(at);
        let known = self.calls.iter().position(|known| *known == number);
        let index = known.unwrap_or(self.calls.len());
        if known.is_none() {
            self.calls.push(number);
            out.push(Delta::ToolCall {
                index,
                id: text(call, "id").map_or_else(|| format!("call_{index}"), str::to_owned),
                name: text(function, "name").unwrap_or_default().to_owned(),
                signature: None,
            });
        }
        let fragment = match function.get("arguments") {
            Some(Value::String(fragment)) => fragment.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        };
        if !fragment.is_empty() {
            out.push(Delta::ToolArguments { index, fragment });
        }
    }
}

/// Writes a client's stream.
#[derive(Debug)]
pub(super) struct Encoder {
    model: String,
    created: u64,
    include_usage: bool,
    /// Everything of a chunk before its choices; made when the id is known.
    prefix: Vec<u8>,
    started: bool,
    usage: Option<Usage>,
    /// The call that is being written, and whether it has arguments yet.
    open_call: Option<(usize, bool)>,
    details: usize,
    finished: bool,
}

impl Encoder {
    pub(super) fn new(view: &View) -> Self {
        Self {
            model: view.model.clone(),
            created: view.created,
            include_usage: view.include_usage,
            prefix: Vec::new(),
            started: false,
            usage: None,
            open_call: None,
            details: 0,
            finished: false,
        }
    }

    fn start(&mut self, id: &str, out: &mut Vec<u8>) {
        if self.started {
            return;
        }
        self.started = true;
        self.prefix = format!(
            "data: {{\"id\":{},\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},",
            Value::from(id),
            self.created,
            Value::from(self.model.as_str())
        )
        .into_bytes();
        self.chunk(out, |out| out.extend_from_slice(br#"{"role":"assistant","content":""}"#));
    }

    /// One chunk around a delta.
    fn chunk(&self, out: &mut Vec<u8>, delta: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(br#""choices":[{"index":0,"delta":"#);
        delta(out);
        out.extend_from_slice(br#","logprobs":null,"finish_reason":null}]"#);
        self.close_chunk(out);
    }

    fn close_chunk(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.include_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" });
    }

    fn value(&self, delta: &Value, out: &mut Vec<u8>) {
        self.chunk(out, |out| out.extend_from_slice(delta.to_string().as_bytes()));
    }

    /// A call without arguments still owes its `{}`.
    fn close_call(&mut self, out: &mut Vec<u8>) {
        if let Some((index, false)) = self.open_call.take() {
            self.arguments(index, "{}", out);
        }
    }

    fn arguments(&self, index: usize, fragment: &str, out: &mut Vec<u8>) {
        self.value(
            &json!({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}),
            out,
        );
    }

    fn detail(&mut self, mut detail: Value, signature: &Signature, out: &mut Vec<u8>) {
        if let Some(map) = detail.as_object_mut() {
            map.insert("format".to_owned(), json!(response::format_word(signature.dialect)));
            map.insert("index".to_owned(), json!(self.details));
        }
        self.details += 1;
        self.value(&json!({"reasoning_details": [detail]}), out);
    }

    fn finish(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.close_call(out);
        out.extend_from_slice(&self.prefix);
        let word = response::finish_word(finish);
        let choice = format!(
            r#""choices":[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"{word}"}}]"#
        );
        out.extend_from_slice(choice.as_bytes());
        self.close_chunk(out);
    }
}

impl Encode for Encoder {
    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) {
        if let Delta::Start { id, .. } = &delta {
            return self.start(id, out);
        }
        if !matches!(delta, Delta::Usage(_)) {
            self.start("chatcmpl-0", out);
        }
        match delta {
            Delta::Start { .. } => {}
            Delta::Text(words) => self.chunk(out, |out| {
                out.extend_from_slice(br#"{"content":"#);
                push_string(out, &words);
                out.push(b'}');
            }),
            Delta::Reasoning(words) => self.chunk(out, |out| {
                out.extend_from_slice(br#"{"reasoning_content":"#);
                push_string(out, &words);
                out.extend_from_slice(br#","reasoning":"#);
                push_string(out, &words);
                out.push(b'}');
            }),
            Delta::Refusal(words) => self.value(&json!({"refusal": words}), out),
            Delta::ReasoningSignature(signature) => {
                let detail = json!({"type": "reasoning.text", "signature": signature.data});
                self.detail(detail, &signature, out);
            }
            Delta::RedactedReasoning(signature) => {
                let detail = json!({"type": "reasoning.encrypted", "data": signature.data});
                self.detail(detail, &signature, out);
            }
            Delta::ToolCall { index, id, name, signature } => {
                self.close_call(out);
                self.open_call = Some((index, false));
                let mut call = json!({
                    "index": index, "id": id, "type": "function",
                    "function": {"name": name, "arguments": ""},
                });
                if let (Some(signature), Some(map)) = (signature, call.as_object_mut()) {
                    map.insert("extra_content".to_owned(), response::google(&signature));
                }
                self.value(&json!({"tool_calls": [call]}), out);
            }
            Delta::ToolArguments { index, fragment } => {
                if let Some((open, begun)) = &mut self.open_call {
                    *begun |= *open == index;
                }
                self.arguments(index, &fragment, out);
            }
            Delta::Logprobs(tokens) => {
                out.extend_from_slice(&self.prefix);
                let choice = json!([{
                    "index": 0, "delta": {}, "finish_reason": null,
                    "logprobs": response::write_logprobs(&tokens),
                }]);
                out.extend_from_slice(format!("\"choices\":{choice}").as_bytes());
                self.close_chunk(out);
            }
            Delta::Usage(usage) => {
                self.usage = Some(self.usage.map_or(usage, |older| older.merged(usage)));
            }
            Delta::Finish(finish) => self.finish(&finish, out),
        }
    }

    fn complete(&mut self, out: &mut Vec<u8>) {
        self.start("chatcmpl-0", out);
        self.finish(&Finish::Stop, out);
        if let (true, Some(usage)) = (self.include_usage, self.usage) {
            out.extend_from_slice(&self.prefix);
            let usage = response::write_usage(usage);
            out.extend_from_slice(format!("\"choices\":[],\"usage\":{usage}}}\n\n").as_bytes());
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &ApiError, _request_id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("data: {}\n\n", error::encode(error)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::sse;

    fn read(stream: &str) -> (Vec<Delta>, Result<(), StreamError>) {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for raw in sse::events(stream.as_bytes()) {
            if let Err(error) = decoder.event(&Event::parse(raw), &mut out) {
                return (out, Err(error));
            }
        }
        let end = decoder.end(&mut out);
        (out, end)
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let view = View { model: "m".to_owned(), created: 1, include_usage: true };
        let call = |index, id: &str| Delta::ToolCall {
            index,
            id: id.to_owned(),
            name: "f".to_owned(),
            signature: None,
        };
        let usage = Usage { input: 5, cached: Some(2), output: 3, ..Usage::default() };
        let deltas = vec![
            Delta::Start { id: "a".to_owned(), model: "m".to_owned() },
            Delta::Reasoning("hm".to_owned()),
            Delta::Text("say \"hi\"\n".to_owned()),
            call(0, "c0"),
            call(1, "c1"),
            Delta::ToolArguments { index: 1, fragment: "{\"x\":1}".to_owned() },
            Delta::Finish(Finish::ToolCalls),
            Delta::Usage(usage),
        ];
        let mut encoder = Encoder::new(&view);
        let mut bytes = Vec::new();
        for delta in deltas.clone() {
            encoder.delta(delta, &mut bytes);
        }
        encoder.complete(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"));
        let (mut found, end) = read(&text);
        assert_eq!(end, Ok(()));
        let empty = Delta::ToolArguments { index: 0, fragment: "{}".to_owned() };
        let at = found.iter().position(|delta| *delta == empty).expect("a call owes its {}");
        found.remove(at);
        assert_eq!(found, deltas);
    }

    #[test]
    fn a_cut_stream_is_truncated_and_a_failed_one_says_so() {
        let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        assert_eq!(read(begun).1, Err(StreamError::Truncated));
        let failed = format!("{begun}data: {{\"error\":{{\"message\":\"boom\"}}}}\n\n");
        assert!(matches!(read(&failed).1, Err(StreamError::Provider(_))));
    }
}
