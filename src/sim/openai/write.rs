//! Answers as OpenAI writes them, whole and streamed.

use serde_json::{Map, Value, json};

use crate::sim::{
    Event,
    answer::{Answer, Asked, Call, Finish, pieces},
};

pub(in crate::sim) fn whole(asked: &Asked, answer: &Answer) -> Value {
    let text = answer.words.concat();
    let refused = answer.finish == Finish::Refusal;
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    let content = (!refused && answer.calls.is_empty()).then_some(&text);
    message.insert("content".to_owned(), json!(content));
    message.insert("refusal".to_owned(), json!(refused.then_some(&text)));
    message.insert("annotations".to_owned(), json!([]));
    if asked.shows_reasoning && !answer.reasoning.is_empty() {
        message.insert("reasoning_content".to_owned(), json!(answer.reasoning.concat()));
    }
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().enumerate();
        let calls: Value =
            calls.map(|(at, one)| call(answer, at, one, &one.arguments.to_string())).collect();
        message.insert("tool_calls".to_owned(), calls);
    }
    let logprobs = asked.logprobs.map(|top| {
        json!({"content": answer.words.iter().map(|word| logprob(word, top)).collect::<Vec<_>>(), "refusal": null})
    });
    let choice = |index: usize| {
        json!({
            "index": index, "message": message, "logprobs": logprobs,
            "finish_reason": reason(&answer.finish),
        })
    };
    json!({
        "id": id(answer), "object": "chat.completion", "created": CREATED, "model": asked.model,
        "choices": (0..asked.choices).map(choice).collect::<Vec<_>>(),
        "usage": usage(answer, asked.choices), "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    })
}

/// 2026-01-01: an answer does not depend on the clock.
const CREATED: u64 = 1_767_225_600;

fn id(answer: &Answer) -> String {
    format!("chatcmpl-{}", answer.id)
}

const fn reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Sequence(_) | Finish::Refusal => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
    }
}

fn usage(answer: &Answer, choices: usize) -> Value {
    let used = answer.usage;
    let output = used.output * choices as u64;
    json!({
        "prompt_tokens": used.prompt, "completion_tokens": output,
        "total_tokens": used.prompt + output,
        "prompt_tokens_details": {"cached_tokens": used.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning * choices as u64, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn call(answer: &Answer, at: usize, call: &Call, arguments: &str) -> Value {
    json!({
        "id": format!("call_{}{at}", answer.id), "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    })
}

/// The most likely token is the one chosen; each alternative is half as likely as the one before.
fn logprob(word: &str, top: usize) -> Value {
    let one = |token: String, rank: u32| {
        let bytes = token.as_bytes().to_vec();
        json!({"token": token, "logprob": -0.5 - 0.693 * f64::from(rank), "bytes": bytes})
    };
    let ranks = (0_u32..).take(top);
    let others: Vec<Value> = ranks
        .map(|rank| one(if rank == 0 { word.to_owned() } else { format!("alt{rank} ") }, rank))
        .collect();
    let mut chosen = one(word.to_owned(), 0);
    if let Some(map) = chosen.as_object_mut() {
        map.insert("top_logprobs".to_owned(), Value::Array(others));
    }
    chosen
}

pub(in crate::sim) fn events(asked: &Asked, answer: &Answer) -> Vec<Event> {
    let mut events = Vec::new();
    for index in 0..asked.choices {
        choice(asked, answer, index, &mut events);
    }
    if asked.include_usage {
        let mut last = chunk(asked, answer, &json!([]));
        if let Some(map) = last.as_object_mut() {
            map.insert("usage".to_owned(), usage(answer, asked.choices));
        }
        events.push(Event::frame(data(&last)));
    }
    events.push(Event::frame("data: [DONE]\n\n".to_owned()));
    events
}

fn data(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}

fn chunk(asked: &Asked, answer: &Answer, choices: &Value) -> Value {
    let mut chunk = json!({
        "id": id(answer), "object": "chat.completion.chunk", "created": CREATED,
        "model": asked.model, "service_tier": "default", "system_fingerprint": "fp_simulated",
        "choices": choices,
    });
    if let (true, Some(map)) = (asked.include_usage, chunk.as_object_mut()) {
        map.insert("usage".to_owned(), Value::Null);
    }
    chunk
}

fn choice(asked: &Asked, answer: &Answer, index: usize, events: &mut Vec<Event>) {
    let delta = |delta: Value, logprobs: Option<Value>, reason: Option<&str>| {
        let logprobs = logprobs.unwrap_or_default();
        let choice = json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]);
        data(&chunk(asked, answer, &choice))
    };
    let begin = json!({"role": "assistant", "content": "", "refusal": null});
    events.push(Event::frame(delta(begin, None, None)));
    if asked.shows_reasoning {
        for word in &answer.reasoning {
            events.push(Event::token(delta(json!({"reasoning_content": word}), None, None)));
        }
    }
    let key = if answer.finish == Finish::Refusal { "refusal" } else { "content" };
    for word in &answer.words {
        let logprobs =
            asked.logprobs.map(|top| json!({"content": [logprob(word, top)], "refusal": null}));
        let piece = Value::Object(Map::from_iter([(key.to_owned(), json!(word))]));
        events.push(Event::token(delta(piece, logprobs, None)));
    }
    for (at, one) in answer.calls.iter().enumerate() {
        let mut begin = call(answer, at, one, "");
        if let Some(map) = begin.as_object_mut() {
            map.insert("index".to_owned(), json!(at));
        }
        events.push(Event::token(delta(json!({"tool_calls": [begin]}), None, None)));
        for piece in pieces(&one.arguments) {
            let piece = json!({"tool_calls": [{"index": at, "function": {"arguments": piece}}]});
            events.push(Event::token(delta(piece, None, None)));
        }
    }
    events.push(Event::frame(delta(json!({}), None, Some(reason(&answer.finish)))));
}
