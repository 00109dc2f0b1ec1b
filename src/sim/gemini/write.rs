//! Answers as Gemini writes them, whole and streamed.

use serde_json::{Map, Value, json};

use crate::sim::{
    Event, Provider,
    answer::{Answer, Asked, Finish},
    mint::Signer,
};

pub(in crate::sim) fn whole(asked: &Asked, answer: &Answer, signer: Signer) -> Value {
    let mut parts = Vec::new();
    if asked.shows_reasoning && !answer.reasoning.is_empty() {
        parts.push(json!({"text": answer.reasoning.concat(), "thought": true}));
    }
    if answer.calls.is_empty() && answer.finish != Finish::Refusal {
        let mut part = Map::new();
        part.insert("text".to_owned(), json!(answer.words.concat()));
        if !answer.reasoning.is_empty() {
            part.insert("thoughtSignature".to_owned(), json!(signer.sign(Provider::Gemini, "")));
        }
        parts.push(Value::Object(part));
    }
    parts.extend(calls(answer, signer));
    chunk(asked, answer, &parts, true, &answer.words)
}

/// The calls of a step: the first carries the signature of the thought behind them all.
fn calls(answer: &Answer, signer: Signer) -> Vec<Value> {
    let calls = answer.calls.iter().enumerate();
    let part = |(at, call): (usize, &crate::sim::answer::Call)| {
        let called = json!({"name": call.name, "args": call.arguments});
        let mut part = Map::from_iter([("functionCall".to_owned(), called)]);
        if at == 0 {
            let signature = signer.sign(Provider::Gemini, &call.name);
            part.insert("thoughtSignature".to_owned(), json!(signature));
        }
        Value::Object(part)
    };
    calls.map(part).collect()
}

fn chunk(asked: &Asked, answer: &Answer, parts: &[Value], last: bool, words: &[String]) -> Value {
    let mut candidate = Map::new();
    candidate.insert("content".to_owned(), json!({"role": "model", "parts": parts}));
    candidate.insert("index".to_owned(), json!(0));
    if last {
        let reason = match answer.finish {
            Finish::Stop | Finish::Sequence(_) | Finish::Calls => "STOP",
            Finish::Length => "MAX_TOKENS",
            Finish::Refusal => "SAFETY",
        };
        candidate.insert("finishReason".to_owned(), json!(reason));
    }
    if let Some(top) = asked.logprobs.filter(|_| !words.is_empty()) {
        candidate.insert("avgLogprobs".to_owned(), json!(-0.5));
        candidate.insert("logprobsResult".to_owned(), logprobs(words, top));
    }
    json!({
        "candidates": [candidate], "usageMetadata": usage(answer, last),
        "modelVersion": asked.model, "responseId": answer.id,
    })
}

/// The most likely token is the one chosen; each alternative is half as likely as the one before.
fn logprobs(words: &[String], top: usize) -> Value {
    let one = |token: &str, rank: u32| json!({"token": token, "tokenId": rank, "logProbability": -0.5 - 0.693 * f64::from(rank)});
    let others = |word: &String| {
        let ranks = (0_u32..).take(top);
        let candidates = ranks.map(|rank| match rank {
            0 => one(word, 0),
            rank => one(&format!("alt{rank} "), rank),
        });
        json!({"candidates": candidates.collect::<Vec<_>>()})
    };
    json!({
        "chosenCandidates": words.iter().map(|word| one(word, 0)).collect::<Vec<_>>(),
        "topCandidates": words.iter().map(others).collect::<Vec<_>>(),
    })
}

/// What the prompt cost is told from the first chunk on, what the answer cost at the last.
fn usage(answer: &Answer, last: bool) -> Value {
    let used = answer.usage;
    let mut usage = Map::new();
    usage.insert("promptTokenCount".to_owned(), json!(used.prompt));
    if used.cached > 0 {
        usage.insert("cachedContentTokenCount".to_owned(), json!(used.cached));
    }
    let mut total = used.prompt;
    if last {
        total += used.output;
        usage.insert("candidatesTokenCount".to_owned(), json!(used.output - used.reasoning));
        if used.reasoning > 0 {
            usage.insert("thoughtsTokenCount".to_owned(), json!(used.reasoning));
        }
    }
    usage.insert("totalTokenCount".to_owned(), json!(total));
    Value::Object(usage)
}

/// The chunks of a stream, each with whether it is a token.
pub(in crate::sim) fn chunks(asked: &Asked, answer: &Answer, signer: Signer) -> Vec<(Value, bool)> {
    let mut chunks = Vec::new();
    if asked.shows_reasoning {
        for word in &answer.reasoning {
            let part = json!({"text": word, "thought": true});
            chunks.push((chunk(asked, answer, &[part], false, &[]), true));
        }
    }
    if answer.finish != Finish::Refusal {
        for word in &answer.words {
            let part = json!({"text": word});
            let chunk = chunk(asked, answer, &[part], false, std::slice::from_ref(word));
            chunks.push((chunk, true));
        }
    }
    let calls = calls(answer, signer);
    let called = !calls.is_empty();
    if called {
        chunks.push((chunk(asked, answer, &calls, false, &[]), true));
    }
    let mut end = json!({"text": ""});
    if let (Some(map), true) = (end.as_object_mut(), !called && !answer.reasoning.is_empty()) {
        map.insert("thoughtSignature".to_owned(), json!(signer.sign(Provider::Gemini, "")));
    }
    chunks.push((chunk(asked, answer, &[end], true, &[]), false));
    chunks
}

/// The same as server-sent events, in Google's framing.
pub(in crate::sim) fn events(asked: &Asked, answer: &Answer, signer: Signer) -> Vec<Event> {
    let chunks = chunks(asked, answer, signer).into_iter();
    let event =
        |(chunk, token): (Value, bool)| Event { text: format!("data: {chunk}\r\n\r\n"), token };
    chunks.map(event).collect()
}
