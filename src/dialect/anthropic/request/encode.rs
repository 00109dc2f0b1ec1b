//! Writes a request for a provider: everything but the conversation and the tools.
//!
//! Where Anthropic lacks a field, one of two things happens, and it is never silence: what would
//! change the meaning of the answer (several choices, probabilities) is refused, what only tunes it
//! (a seed, a penalty) is left out and told to the client.

use bytes::Bytes;

use super::{
    Losses,
    body::{Block, Body, Metadata, OutputConfig},
    thinking, tools, turns,
};
use crate::dialect::{ChatRequest, Encoded, Loss, Refusal, Target, Traits};

/// The longest `metadata.user_id`, in characters.
const MAX_USER: usize = 256;

/// Writes a request.
pub fn encode(request: &ChatRequest, target: &Target<'_>) -> Result<Encoded, Refusal> {
    let traits = target.traits;
    refuse(request)?;
    let mut losses = Losses::default();
    let mut turns = turns::turns(request, traits, &mut losses)?;
    let limit = limit(request, traits, &mut losses);
    let reasoning = request.reasoning.as_ref();
    let mut plan = thinking::plan(reasoning, limit, traits, &mut losses);
    if plan.is_budgeted() && turns.lacks_thinking() {
        losses.add(Loss::dropped("reasoning_effort"));
        plan = thinking::Plan { max_tokens: limit, ..Default::default() };
    }
    let thinks = plan.is_on();
    let tooling = tools::tooling(request, traits, thinks, &mut losses)?;
    turns.system.extend(tooling.instruction.map(|text| Block::Text { text: text.into() }));
    let (temperature, top_p, top_k) = sampling(request, traits, thinks, &mut losses);
    drop_the_rest(request, &mut losses);
    let body = Body {
        model: target.model,
        max_tokens: plan.max_tokens,
        system: turns.system,
        messages: turns.messages,
        tools: tooling.tools,
        tool_choice: tooling.choice,
        thinking: plan.thinking,
        output_config: (plan.effort.is_some() || tooling.format.is_some())
            .then_some(OutputConfig { effort: plan.effort, format: tooling.format }),
        temperature,
        top_p,
        top_k,
        stop_sequences: stop_sequences(request, &mut losses),
        metadata: user(request, &mut losses).map(|user_id| Metadata { user_id }),
        stream: request.stream,
    };
    let body = serde_json::to_vec(&body).map_err(|problem| {
        Refusal::at("messages", format!("cannot be written as JSON: {problem}"))
    })?;
    Ok(Encoded { body: Bytes::from(body), losses: losses.0 })
}

/// Refuses what cannot be left out without changing what the answer means.
fn refuse(request: &ChatRequest) -> Result<(), Refusal> {
    if request.choices.is_some_and(|choices| choices > 1) {
        return Err(Refusal::at("n", "the target writes one answer to a request"));
    }
    if request.logprobs.is_some() {
        return Err(Refusal::at("logprobs", "the target reports no probabilities"));
    }
    Ok(())
}

/// The limit that Anthropic demands: the client's within the model's, or the model's.
fn limit(request: &ChatRequest, traits: &Traits, losses: &mut Losses) -> u64 {
    let asked = request.max_output_tokens.unwrap_or(traits.max_output_tokens);
    if asked > traits.max_output_tokens {
        losses.add(Loss::clamped("max_tokens"));
    }
    asked.min(traits.max_output_tokens)
}

/// What the model takes of the sampling. A value that changes nothing is no loss.
fn sampling(
    request: &ChatRequest,
    traits: &Traits,
    thinks: bool,
    losses: &mut Losses,
) -> (Option<f64>, Option<f64>, Option<u64>) {
    let neutral = |value: &f64| (value - 1.0).abs() < f64::EPSILON;
    let temperature = request.sampling.temperature.filter(|value| !neutral(value));
    let top_p = request.sampling.top_p.filter(|value| !neutral(value));
    let top_k = request.sampling.top_k;
    if !traits.sampling || thinks {
        let fields = [
            ("temperature", temperature.is_some()),
            ("top_p", top_p.is_some()),
            ("top_k", top_k.is_some()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, given)| *given) {
            losses.add(Loss::dropped(field));
        }
        return (None, None, None);
    }
    let clamped = temperature.map(|value| value.clamp(0.0, 1.0));
    if clamped != temperature {
        losses.add(Loss::clamped("temperature"));
    }
    // Newer models that still take sampling take one of the two.
    let both = clamped.is_some() && top_p.is_some();
    if both {
        losses.add(Loss::dropped("top_p"));
    }
    (clamped, top_p.filter(|_| !both), top_k)
}

fn stop_sequences<'a>(request: &'a ChatRequest, losses: &mut Losses) -> Vec<&'a str> {
    let kept: Vec<_> =
        request.stop.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect();
    if kept.len() < request.stop.len() {
        losses.add(Loss::dropped("stop"));
    }
    kept
}

fn user<'a>(request: &'a ChatRequest, losses: &mut Losses) -> Option<&'a str> {
    let user = request.user.as_deref()?;
    if user.chars().count() > MAX_USER {
        losses.add(Loss::dropped("user"));
        return None;
    }
    Some(user)
}

fn drop_the_rest(request: &ChatRequest, losses: &mut Losses) {
    let sampling = &request.sampling;
    let given = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let fields = [
        ("frequency_penalty", given(sampling.frequency_penalty)),
        ("presence_penalty", given(sampling.presence_penalty)),
        ("seed", sampling.seed.is_some()),
        ("logit_bias", sampling.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty())),
    ];
    for (field, _) in fields.into_iter().filter(|(_, given)| *given) {
        losses.add(Loss::dropped(field));
    }
    for key in request.rest.keys() {
        losses.add(Loss::dropped(key.clone()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::{super::decode, *};
    use crate::dialect::{
        chat::{
            Effort, Message, OutputFormat, Part, Reasoning, Role, Sampling, Tool, ToolCall,
            ToolChoice, ToolResult,
        },
        traits::Thinking,
    };

    const MODEL: &str = "claude-x";

    fn asks(request: ChatRequest) -> ChatRequest {
        let hi = vec![Part::Text("hi".to_owned())];
        ChatRequest {
            messages: vec![Message { role: Role::User, name: None, parts: hi }],
            ..request
        }
    }

    fn write(request: &ChatRequest, traits: &Traits) -> (Value, Vec<Loss>) {
        let encoded =
            encode(request, &Target { model: MODEL, traits, fetches_urls: true }).unwrap();
        (serde_json::from_slice(&encoded.body).unwrap(), encoded.losses)
    }

    #[test]
    fn the_least_request_is_small() {
        let (body, losses) = write(&asks(ChatRequest::default()), &Traits::default());
        let expected = json!({"model": MODEL, "max_tokens": 8192, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
        assert_eq!((body, losses), (expected, vec![]));
    }

    #[test]
    fn what_would_change_the_answer_is_refused() {
        for (request, param) in [
            (ChatRequest { choices: Some(2), ..ChatRequest::default() }, "n"),
            (ChatRequest { logprobs: Some(0), ..ChatRequest::default() }, "logprobs"),
        ] {
            let traits = Traits::default();
            let target = Target { model: MODEL, traits: &traits, fetches_urls: true };
            assert_eq!(encode(&asks(request), &target).unwrap_err().param, param);
        }
    }

    #[test]
    fn what_only_tunes_is_left_out_and_told() {
        let request = ChatRequest {
            max_output_tokens: Some(99_999),
            sampling: Sampling {
                temperature: Some(1.5),
                top_p: Some(0.9),
                seed: Some(1),
                presence_penalty: Some(0.0),
                frequency_penalty: Some(1.0),
                logit_bias: Some(Map::new()),
                ..Sampling::default()
            },
            stop: vec!["\n".to_owned(), "END".to_owned()],
            user: Some("u".repeat(257)),
            rest: Map::from_iter([("store".to_owned(), Value::Bool(true))]),
            ..ChatRequest::default()
        };
        let (body, losses) = write(&asks(request), &Traits::default());
        assert_eq!(body["max_tokens"], 8192);
        assert_eq!(body["temperature"], 1.0);
        assert_eq!(body["stop_sequences"], json!(["END"]));
        assert_eq!((body.get("top_p"), body.get("metadata")), (None, None));
        let expected = [
            Loss::clamped("max_tokens"),
            Loss::clamped("temperature"),
            Loss::dropped("top_p"),
            Loss::dropped("frequency_penalty"),
            Loss::dropped("seed"),
            Loss::dropped("store"),
            Loss::dropped("stop"),
            Loss::dropped("user"),
        ];
        assert_eq!(losses, expected);
    }

    #[test]
    fn sampling_goes_where_the_model_or_its_thinking_takes_none() {
        let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
        let request = asks(ChatRequest { sampling, ..ChatRequest::default() });
        let newer = Traits { sampling: false, ..Traits::default() };
        let (body, losses) = write(&request, &newer);
        assert_eq!((body.get("temperature"), losses), (None, vec![Loss::dropped("temperature")]));

        let reasoning = Some(Reasoning { effort: Some(Effort::Low), ..Reasoning::default() });
        let (body, losses) =
            write(&ChatRequest { reasoning, ..request.clone() }, &Traits::default());
        assert_eq!(body["thinking"], json!({"type": "adaptive"}));
        assert_eq!(body["output_config"], json!({"effort": "low"}));
        assert_eq!((body.get("temperature"), losses), (None, vec![Loss::dropped("temperature")]));

        // 1 is what these models do anyway.
        let sampling = Sampling { temperature: Some(1.0), ..Sampling::default() };
        assert_eq!(write(&ChatRequest { sampling, ..request }, &newer).1, []);
    }

    #[test]
    fn a_json_object_is_asked_for_in_words() {
        let request = ChatRequest { output: OutputFormat::JsonObject, ..ChatRequest::default() };
        let (body, losses) = write(&asks(request), &Traits::default());
        assert!(body["system"][0]["text"].as_str().unwrap().contains("JSON object"));
        assert_eq!(losses, [Loss::emulated("response_format")]);
    }

    #[test]
    fn a_budget_is_not_asked_for_in_a_turn_that_lost_its_thinking() {
        let mut request = asks(ChatRequest::default());
        let (id, name) = ("t".to_owned(), "f".to_owned());
        request.messages.push(Message {
            role: Role::Assistant,
            name: None,
            parts: vec![Part::ToolCall(ToolCall {
                id: id.clone(),
                name,
                arguments: "{}".to_owned(),
                signature: None,
            })],
        });
        let result = ToolResult { call_id: id, name: None, parts: Vec::new(), is_error: false };
        request.messages.push(Message {
            role: Role::User,
            name: None,
            parts: vec![Part::ToolResult(result)],
        });
        request.reasoning = Some(Reasoning { effort: Some(Effort::Low), ..Reasoning::default() });
        let budget = Traits { thinking: Thinking::Budget, ..Traits::default() };
        let (body, losses) = write(&request, &budget);
        assert_eq!(body.get("thinking"), None);
        assert!(losses.contains(&Loss::dropped("reasoning_effort")));
    }

    fn text() -> impl Strategy<Value = String> {
        "[a-z\"\\\\ ]{0,8}[a-z]"
    }

    /// Conversations as a client may write them: turns in order, every call answered.
    fn conversation() -> impl Strategy<Value = Vec<Message>> {
        let says = |role, text| Message { role, name: None, parts: vec![Part::Text(text)] };
        let exchange = (text(), text(), prop::option::of(text()));
        prop::collection::vec(exchange, 1..4).prop_map(move |exchanges| {
            let mut messages = vec![says(Role::System, "be brief".to_owned())];
            for (index, (asked, answered, called)) in exchanges.into_iter().enumerate() {
                let mut question = says(Role::User, asked);
                let mut answer = says(Role::Assistant, answered);
                if let Some(word) = called {
                    let id = format!("call_{index}");
                    answer.parts.push(Part::ToolCall(ToolCall {
                        id: id.clone(),
                        name: "f".to_owned(),
                        arguments: json!({"q": word}).to_string(),
                        signature: None,
                    }));
                    let result = ToolResult {
                        call_id: id,
                        name: Some("f".to_owned()),
                        parts: vec![Part::Text(word)],
                        is_error: index % 2 == 0,
                    };
                    messages.push(std::mem::replace(&mut question, says(Role::User, "so".into())));
                    messages.push(answer);
                    question.parts.insert(0, Part::ToolResult(result));
                    messages.push(question);
                    messages.push(says(Role::Assistant, "done".to_owned()));
                } else {
                    messages.extend([question, answer]);
                }
            }
            messages
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            messages in conversation(),
            stream in any::<bool>(),
            temperature in prop::option::of(prop::sample::select(vec![0.0, 0.25, 0.7])),
            stop in prop::collection::vec(text(), 0..3),
            choice in prop::option::of(prop::sample::select(vec![
                ToolChoice::Auto, ToolChoice::None, ToolChoice::Required,
                ToolChoice::Tool("f".to_owned()),
            ])),
        ) {
            let request = ChatRequest {
                model: MODEL.to_owned(),
                messages,
                tools: vec![Tool {
                    name: "f".to_owned(),
                    description: Some("d".to_owned()),
                    parameters: Some(json!({"type": "object"})),
                    strict: None,
                }],
                tool_choice: choice,
                max_output_tokens: Some(100),
                sampling: Sampling { temperature, ..Sampling::default() },
                stop,
                user: Some("u".to_owned()),
                stream,
                include_usage: stream,
                ..ChatRequest::default()
            };
            let traits = Traits::default();
            let encoded = encode(&request, &Target { model: MODEL, traits: &traits, fetches_urls: true }).unwrap();
            prop_assert_eq!(encoded.losses, vec![]);
            prop_assert_eq!(decode(&encoded.body).unwrap(), request);
        }
    }
}
