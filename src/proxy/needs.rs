//! What a request needs of a model, read from as few bytes as possible.
//!
//! The scan that found `model` has noted the fields that tell: tools, the form of the answer, thinking,
//! the length wanted, and whether something looks like a picture, a file or a sound. Only when one of
//! these last would keep a target from the request is it parsed, because a word in a text or the name
//! of a field may look like them too.

use std::ops::Range;

use super::facts::Chat;
use crate::{
    dialect::chat::{ChatRequest, Part},
    provider::{Ability, Capabilities, Capability},
    select::Needs,
};

/// What a request needs, seen by somebody who may ask models of these abilities.
pub fn needs(chat: &Chat, mut models: impl Iterator<Item = Ability>) -> Needs {
    let peek = &chat.peek;
    let field = |range: &Option<Range<usize>>| {
        range.clone().and_then(|range| chat.body.get(range)).filter(|value| *value != b"null")
    };
    let mut must = Capabilities::default();
    if field(&peek.tools).is_some_and(|tools| tools != b"[]") {
        must.insert(Capability::Tools);
    }
    if field(&peek.format).is_some_and(|format| mentions(format, b"\"json_schema\"")) {
        must.insert(Capability::JsonSchema);
    }
    let mut better = Capabilities::default();
    if field(&peek.reasoning)
        .is_some_and(|value| !mentions(value, b"\"none\"") && !mentions(value, b"\"disabled\""))
    {
        better.insert(Capability::Reasoning);
    }
    if field(&peek.parallel_tools) == Some(b"true") {
        better.insert(Capability::ParallelTools);
    }
    let looks: Capabilities = [
        (peek.media.audio, Capability::AudioInput),
        (peek.media.file, Capability::FileInput),
        (peek.media.image, Capability::Vision),
    ]
    .into_iter()
    .filter_map(|(looks, capability)| looks.then_some(capability))
    .collect();
    let matters = models.any(|ability| ability.lacks(looks).next().is_some());
    if matters && let Ok(request) = chat.common() {
        media(request, &mut must);
    }
    let output_tokens = field(&peek.output_tokens)
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let text_bytes = if looks.is_empty() { chat.body.len() as u64 } else { 0 };
    Needs { must, better, output_tokens, text_bytes }
}

/// The field of the common form that asks for an ability.
pub const fn asked_by(capability: Capability) -> &'static str {
    match capability {
        Capability::AudioInput | Capability::FileInput | Capability::Vision => "messages",
        Capability::JsonSchema => "response_format",
        Capability::ParallelTools => "parallel_tool_calls",
        Capability::Reasoning => "reasoning_effort",
        Capability::Tools => "tools",
    }
}

fn mentions(value: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(value, word).is_some()
}

fn media(request: &ChatRequest, found: &mut Capabilities) {
    let mut parts: Vec<&Part> =
        request.messages.iter().flat_map(|message| &message.parts).collect();
    while let Some(part) = parts.pop() {
        match part {
            Part::Audio { .. } => found.insert(Capability::AudioInput),
            Part::File { .. } => found.insert(Capability::FileInput),
            Part::Image { .. } => found.insert(Capability::Vision),
            Part::ToolResult(result) => parts.extend(&result.parts),
            Part::Reasoning(_) | Part::Refusal(_) | Part::Text(_) | Part::ToolCall(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::Api;

    fn of(api: Api, more: &Value) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "image"}],
            "max_tokens": 10});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let chat = Chat::read(api, HeaderMap::new(), Bytes::from(body.to_string())).unwrap();
        // It is known that the model can do nothing, so everything matters.
        let nothing = Ability { capabilities: Some(Capabilities::NONE), ..Ability::default() };
        let Needs { must, better, .. } = needs(&chat, std::iter::once(nothing));
        let words =
            |set: Capabilities| set.without(Capabilities::NONE).map(Capability::as_str).collect();
        (words(must), words(better))
    }

    #[test]
    fn what_is_needed_is_read_from_either_api() {
        let (chat, messages) = (Api::ChatCompletions, Api::Messages);
        let content = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
        let picture = json!({"type": "image_url", "image_url": {"url": "https://x/y.png"}});
        let sound = json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}});
        let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
        let tool = json!({"name": "image", "input_schema": {"type": "object", "properties": {"image_url": {}}}});
        for (api, more, must, better) in [
            (chat, json!({}), vec![], vec![]),
            (
                chat,
                json!({"tools": [], "response_format": null, "reasoning_effort": "none"}),
                vec![],
                vec![],
            ),
            (chat, json!({"response_format": {"type": "json_object"}}), vec![], vec![]),
            (
                chat,
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}),
                vec!["JsonSchema"],
                vec![],
            ),
            (chat, content(picture), vec!["Vision"], vec![]),
            (chat, content(sound), vec!["AudioInput"], vec![]),
            (
                chat,
                json!({"reasoning_effort": "low", "parallel_tool_calls": true}),
                vec![],
                vec!["ParallelTools", "Reasoning"],
            ),
            (messages, json!({"tools": [tool]}), vec!["Tools"], vec![]),
            (messages, json!({"thinking": {"type": "disabled"}}), vec![], vec![]),
            (messages, json!({"thinking": {"type": "adaptive"}}), vec![], vec!["Reasoning"]),
            (messages, content(json!({"type": "image", "source": source})), vec!["Vision"], vec![]),
            (
                messages,
                json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
                vec!["JsonSchema"],
                vec![],
            ),
        ] {
            assert_eq!(of(api, &more), (must, better), "{more}");
        }
    }
}
