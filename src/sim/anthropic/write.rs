//! Answers as Anthropic writes them, whole and streamed.

use serde_json::{Map, Value, json};

use crate::sim::{
    Event, Provider,
    answer::{Answer, Asked, Finish, REFUSAL, Usage, pieces},
    mint::Signer,
};

pub(in crate::sim) fn whole(asked: &Asked, answer: &Answer, signer: Signer) -> Value {
    let mut content: Vec<Value> = thought(asked, answer, signer).into_iter().collect();
    if !answer.words.is_empty() && answer.finish != Finish::Refusal {
        content.push(json!({"type": "text", "text": answer.words.concat(), "citations": null}));
    }
    let calls = answer.calls.iter().enumerate();
    content.extend(calls.map(|(at, call)| {
        json!({
            "type": "tool_use", "id": format!("toolu_{}{at}", answer.id), "name": call.name,
            "input": call.arguments,
        })
    }));
    let (reason, sequence, details) = end(answer);
    json!({
        "id": format!("msg_{}", answer.id), "type": "message", "role": "assistant",
        "model": asked.model, "content": content, "stop_reason": reason,
        "stop_sequence": sequence, "stop_details": details,
        "usage": usage(answer.usage, answer.usage.output),
    })
}

/// The block of thinking: its text and signature, its signature alone, or sealed.
fn thought(asked: &Asked, answer: &Answer, signer: Signer) -> Option<Value> {
    let words = answer.reasoning.concat();
    if words.is_empty() {
        return None;
    }
    if answer.redacted {
        let data = signer.seal(Provider::Anthropic, &words);
        return Some(json!({"type": "redacted_thinking", "data": data}));
    }
    let shown = if asked.shows_reasoning { words.as_str() } else { "" };
    let signature = signer.sign(Provider::Anthropic, shown);
    Some(json!({"type": "thinking", "thinking": shown, "signature": signature}))
}

/// Reason, sequence and details of the end.
fn end(answer: &Answer) -> (&'static str, Option<&str>, Value) {
    match &answer.finish {
        Finish::Stop => ("end_turn", None, Value::Null),
        Finish::Sequence(stop) => ("stop_sequence", Some(stop), Value::Null),
        Finish::Length => ("max_tokens", None, Value::Null),
        Finish::Calls => ("tool_use", None, Value::Null),
        Finish::Refusal => {
            let details = json!({"type": "refusal", "category": null, "explanation": REFUSAL});
            ("refusal", None, details)
        }
    }
}

/// `output` is what has been written so far. What came from the cache is not in `input_tokens`.
fn usage(used: Usage, output: u64) -> Value {
    json!({
        "input_tokens": used.prompt - used.cached,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": used.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": used.reasoning.min(output)},
        "service_tier": "standard",
    })
}

pub(in crate::sim) fn events(asked: &Asked, answer: &Answer, signer: Signer) -> Vec<Event> {
    let begin = json!({"type": "message_start", "message": {
        "id": format!("msg_{}", answer.id), "type": "message", "role": "assistant",
        "model": asked.model, "content": [], "stop_reason": null, "stop_sequence": null,
        "stop_details": null, "usage": usage(answer.usage, 1),
    }});
    let mut events = Events::default();
    events.add(&begin);
    events.add(&json!({"type": "ping"}));
    if let Some(mut block) = thought(asked, answer, signer) {
        if answer.redacted {
            events.block(&block, "", &[], None);
        } else {
            let signature = block.get("signature").cloned().unwrap_or_default();
            let shown = if asked.shows_reasoning { answer.reasoning.as_slice() } else { &[] };
            block = json!({"type": "thinking", "thinking": "", "signature": ""});
            events.block(&block, "thinking", shown, Some(signature));
        }
    }
    if !answer.words.is_empty() && answer.finish != Finish::Refusal {
        let block = json!({"type": "text", "text": "", "citations": null});
        events.block(&block, "text", &answer.words, None);
    }
    for (at, call) in answer.calls.iter().enumerate() {
        let id = format!("toolu_{}{at}", answer.id);
        let block = json!({"type": "tool_use", "id": id, "name": call.name, "input": {}});
        let mut parts = vec![String::new()];
        parts.extend(pieces(&call.arguments));
        events.block(&block, "partial_json", &parts, None);
    }
    let (reason, sequence, details) = end(answer);
    events.add(&json!({
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details},
        "usage": usage(answer.usage, answer.usage.output),
    }));
    events.add(&json!({"type": "message_stop"}));
    events.written
}

/// The events so far, and the number of the next block.
#[derive(Default)]
struct Events {
    written: Vec<Event>,
    next: usize,
}

impl Events {
    fn add(&mut self, data: &Value) {
        self.written.push(Event::frame(frame(data)));
    }

    /// A block that grows by pieces under `key`, and a signature at its end.
    fn block(&mut self, block: &Value, key: &str, pieces: &[String], signature: Option<Value>) {
        let index = self.next;
        self.next += 1;
        self.add(&json!({"type": "content_block_start", "index": index, "content_block": block}));
        let kind = match key {
            "thinking" => "thinking_delta",
            "partial_json" => "input_json_delta",
            _ => "text_delta",
        };
        for piece in pieces {
            let mut delta = Map::new();
            delta.insert("type".to_owned(), json!(kind));
            delta.insert(key.to_owned(), json!(piece));
            let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
            self.written.push(Event::token(frame(&delta)));
        }
        if let Some(signature) = signature {
            let delta = json!({"type": "signature_delta", "signature": signature});
            self.add(&json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        self.add(&json!({"type": "content_block_stop", "index": index}));
    }
}

pub(super) fn frame(data: &Value) -> String {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}
