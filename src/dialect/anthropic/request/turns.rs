//! Writes the conversation: Anthropic wants strict turns where other dialects leave more freedom.
//!
//! The application's words at the beginning go to `system`. In the middle they stay where they are,
//! as a system message where the model takes one, else within the user's turn behind a marker, for
//! moving them to the beginning would change what they refer to. Messages of one speaker become one
//! turn; results come first in theirs; nothing is empty; the user speaks first.

use std::borrow::Cow;

use super::{
    Losses,
    body::{Block, Speaker, Turn},
    media,
};
use crate::dialect::{
    ChatRequest, Dialect, Loss, Refusal, Traits,
    anthropic::wire,
    chat::{Part, ReasoningPart, Role, Signature},
};

/// What the user says where the client left nothing to say: the least that Anthropic takes.
const PLACEHOLDER: &str = ".";

/// Where a part stands. Not which: reading may have joined messages, so a number would mislead.
const CONTENT: &str = "messages[].content";

/// The conversation, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Turns<'a> {
    pub system: Vec<Block<'a>>,
    pub messages: Vec<Turn<'a>>,
}

/// Writes the conversation of a request.
pub(super) fn turns<'a>(
    request: &'a ChatRequest,
    traits: &Traits,
    losses: &mut Losses,
) -> Result<Turns<'a>, Refusal> {
    let mut turns = Turns::default();
    for message in &request.messages {
        if message.name.is_some() {
            losses.add(Loss::dropped("messages[].name"));
        }
        let content = blocks(&message.parts, losses)?;
        match message.role {
            Role::Assistant => turns.push(Speaker::Assistant, thinking_first(content)),
            Role::User => turns.push(Speaker::User, content),
            Role::Developer | Role::System => turns.instruct(content, traits, losses)?,
        }
    }
    turns.finish(traits, losses);
    Ok(turns)
}

impl<'a> Turns<'a> {
    fn push(&mut self, role: Speaker, mut content: Vec<Block<'a>>) {
        match self.messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => self.messages.push(Turn { role, content }),
        }
    }

    /// The application's words, wherever they stand.
    fn instruct(
        &mut self,
        content: Vec<Block<'a>>,
        traits: &Traits,
        losses: &mut Losses,
    ) -> Result<(), Refusal> {
        if content.iter().any(|block| !matches!(block, Block::Text { .. })) {
            let message = "the target takes only text from the application";
            return Err(Refusal::at(CONTENT, message));
        }
        if self.messages.is_empty() {
            self.system.extend(content);
        } else if traits.mid_system && !self.awaits_results() {
            self.push(Speaker::System, content);
        } else if !content.is_empty() {
            losses.add(Loss::emulated("messages[].role"));
            self.push(Speaker::User, content.into_iter().map(marked).collect());
        }
        Ok(())
    }

    /// Whether the last turn has calls: nothing may come between them and their results.
    fn awaits_results(&self) -> bool {
        self.messages.last().is_some_and(|turn| {
            turn.content.iter().any(|block| matches!(block, Block::ToolUse { .. }))
        })
    }

    fn finish(&mut self, traits: &Traits, losses: &mut Losses) {
        if self.messages.first().is_none_or(|first| first.role != Speaker::User) {
            losses.add(Loss::emulated("messages"));
            self.messages.insert(0, placeholder());
        }
        for turn in self.messages.iter_mut().filter(|turn| turn.role == Speaker::User) {
            turn.content.sort_by_key(|block| !matches!(block, Block::ToolResult { .. }));
        }
        let own_words = self.messages.last().is_some_and(|last| last.role == Speaker::Assistant);
        if own_words && !traits.prefill {
            losses.add(Loss::emulated("messages"));
            self.messages.push(placeholder());
        }
        // An answer that the model is to go on with must not end in white space.
        if let Some(Turn { role: Speaker::Assistant, content }) = self.messages.last_mut()
            && let Some(Block::Text { text }) = content.last_mut()
        {
            *text = Cow::Owned(text.trim_end().to_owned());
        }
    }

    /// Whether the model goes on from its own calls without the thinking that led to them. A model
    /// that is told to think within a budget refuses that.
    pub(super) fn lacks_thinking(&self) -> bool {
        let last = self.messages.iter().rfind(|turn| turn.role == Speaker::Assistant);
        last.is_some_and(|turn| {
            turn.content.iter().any(|block| matches!(block, Block::ToolUse { .. }))
                && !turn.content.first().is_some_and(is_thinking)
        })
    }
}

fn placeholder() -> Turn<'static> {
    let content = vec![Block::Text { text: Cow::Borrowed(PLACEHOLDER) }];
    Turn { role: Speaker::User, content }
}

fn marked(block: Block<'_>) -> Block<'_> {
    if let Block::Text { text } = block {
        Block::Text { text: format!("[System message]\n{text}").into() }
    } else {
        block
    }
}

/// Thinking opens a turn. Where it already does, the order is the provider's own and is kept: later
/// thinking belongs between calls.
fn thinking_first(mut content: Vec<Block<'_>>) -> Vec<Block<'_>> {
    if !content.first().is_some_and(is_thinking) {
        content.sort_by_key(|block| !is_thinking(block));
    }
    content
}

const fn is_thinking(block: &Block<'_>) -> bool {
    matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. })
}

fn blocks<'a>(parts: &'a [Part], losses: &mut Losses) -> Result<Vec<Block<'a>>, Refusal> {
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        blocks.extend(block(part, losses)?);
    }
    Ok(blocks)
}

fn block<'a>(part: &'a Part, losses: &mut Losses) -> Result<Option<Block<'a>>, Refusal> {
    Ok(match part {
        Part::Audio { .. } => return Err(Refusal::at(CONTENT, "the target takes no audio")),
        Part::File { name, source } => Some(media::document(name.as_deref(), source, CONTENT)?),
        Part::Image { source, detail } => {
            if detail.as_deref().is_some_and(|detail| detail != "auto") {
                losses.add(Loss::dropped("image_url.detail"));
            }
            Some(Block::Image { source: media::image(source, CONTENT)? })
        }
        Part::Reasoning(reasoning) => thinking(reasoning, losses),
        Part::Refusal(text) | Part::Text(text) => {
            (!text.trim().is_empty()).then_some(Block::Text { text: Cow::Borrowed(text) })
        }
        Part::ToolCall(call) => {
            let (input, is_object) = wire::input(&call.arguments);
            if !is_object {
                losses.add(Loss::emulated("tool_calls[].function.arguments"));
            }
            Some(Block::ToolUse { id: call_id(&call.id), name: &call.name, input })
        }
        Part::ToolResult(result) => Some(Block::ToolResult {
            tool_use_id: call_id(&result.call_id),
            content: blocks(&result.parts, losses)?,
            is_error: result.is_error,
        }),
    })
}

/// Thinking goes back only with Anthropic's own proof: it refuses any other.
fn thinking<'a>(part: &'a ReasoningPart, losses: &mut Losses) -> Option<Block<'a>> {
    match &part.signature {
        Some(Signature { dialect: Dialect::AnthropicMessages, data }) if part.redacted => {
            Some(Block::RedactedThinking { data })
        }
        Some(Signature { dialect: Dialect::AnthropicMessages, data }) => {
            Some(Block::Thinking { thinking: &part.text, signature: data })
        }
        _ => {
            if !part.text.is_empty() {
                losses.add(Loss::dropped("reasoning_content"));
            }
            None
        }
    }
}

/// A call's id in the letters that Anthropic takes. Some servers write `functions.f:0`.
fn call_id(id: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(allowed) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(id.chars().map(|c| if allowed(c) { c } else { '_' }).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::chat::{Message, Source, ToolCall, ToolResult};

    fn says(role: Role, parts: Vec<Part>) -> Message {
        Message { role, name: None, parts }
    }

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn call(id: &str, arguments: &str) -> Part {
        Part::ToolCall(ToolCall {
            id: id.to_owned(),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
            signature: None,
        })
    }

    fn result(id: &str) -> Part {
        Part::ToolResult(ToolResult {
            call_id: id.to_owned(),
            name: None,
            parts: vec![text("42")],
            is_error: false,
        })
    }

    fn thought(text: &str, dialect: Dialect) -> Part {
        let signature = Some(Signature { dialect, data: "sig".to_owned() });
        Part::Reasoning(ReasoningPart { text: text.to_owned(), signature, redacted: false })
    }

    fn written(messages: Vec<Message>, traits: &Traits) -> (Value, Value, Vec<Loss>) {
        let request = ChatRequest { messages, ..ChatRequest::default() };
        let mut losses = Losses::default();
        let turns = turns(&request, traits, &mut losses).unwrap();
        (json!(turns.system), json!(turns.messages), losses.0)
    }

    fn block(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    #[test]
    fn the_first_instructions_go_to_system_and_later_ones_stay_in_place() {
        let messages = || {
            vec![
                says(Role::System, vec![text("s")]),
                says(Role::Developer, vec![text("d")]),
                says(Role::User, vec![text("u")]),
                says(Role::Assistant, vec![text("a")]),
                says(Role::System, vec![text("now")]),
                says(Role::User, vec![text("v")]),
            ]
        };
        let (system, turns, losses) = written(messages(), &Traits::default());
        assert_eq!(system, json!([block("s"), block("d")]));
        assert_eq!(turns[2]["content"], json!([block("[System message]\nnow"), block("v")]));
        assert_eq!(losses, [Loss::emulated("messages[].role")]);

        let native = Traits { mid_system: true, ..Traits::default() };
        let (_, turns, losses) = written(messages(), &native);
        assert_eq!(turns[2], json!({"role": "system", "content": [block("now")]}));
        assert!(losses.is_empty());
    }

    #[test]
    fn the_user_speaks_first_even_if_nobody_did() {
        let (system, turns, losses) =
            written(vec![says(Role::System, vec![text("s")])], &Traits::default());
        assert_eq!(system, json!([block("s")]));
        assert_eq!(turns, json!([{"role": "user", "content": [block(".")]}]));
        assert_eq!(losses, [Loss::emulated("messages")]);
    }

    #[test]
    fn results_come_first_and_nothing_comes_between_them_and_their_calls() {
        let native = Traits { mid_system: true, ..Traits::default() };
        let (_, turns, _) = written(
            vec![
                says(Role::User, vec![text("u"), text("  ")]),
                says(
                    Role::Assistant,
                    vec![text("a"), call("functions.f:0", ""), call("y", "oops")],
                ),
                says(Role::System, vec![text("now")]),
                says(Role::User, vec![result("functions.f:0")]),
                says(Role::User, vec![result("y")]),
                says(Role::User, vec![text("v")]),
            ],
            &native,
        );
        let expected = json!([
            {"role": "user", "content": [block("u")]},
            {"role": "assistant", "content": [
                block("a"),
                {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {}},
                {"type": "tool_use", "id": "y", "name": "f", "input": {"_raw_arguments": "oops"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "functions_f_0", "content": [block("42")]},
                {"type": "tool_result", "tool_use_id": "y", "content": [block("42")]},
                block("[System message]\nnow"),
                block("v"),
            ]},
        ]);
        assert_eq!(turns, expected);
    }

    #[test]
    fn only_anthropics_own_thinking_goes_back_and_it_goes_first() {
        let (_, turns, losses) = written(
            vec![
                says(Role::User, vec![text("u")]),
                says(
                    Role::Assistant,
                    vec![
                        text("a \n"),
                        thought("own", Dialect::AnthropicMessages),
                        thought("foreign", Dialect::Gemini),
                    ],
                ),
            ],
            &Traits::default(),
        );
        let thinking = json!({"type": "thinking", "thinking": "own", "signature": "sig"});
        assert_eq!(turns[1]["content"], json!([thinking, block("a")]));
        assert_eq!(losses, [Loss::dropped("reasoning_content")]);
    }

    #[test]
    fn a_model_that_takes_no_words_into_its_mouth_hears_the_user_last() {
        let messages =
            || vec![says(Role::User, vec![text("u")]), says(Role::Assistant, vec![text("a \n")])];
        let (_, turns, losses) = written(messages(), &Traits::default());
        assert_eq!(turns[1]["content"], json!([block("a")]));
        assert!(losses.is_empty());
        let closed = Traits { prefill: false, ..Traits::default() };
        let (_, turns, losses) = written(messages(), &closed);
        assert_eq!(turns[2], json!({"role": "user", "content": [block(".")]}));
        assert_eq!(losses, [Loss::emulated("messages")]);
    }

    #[test]
    fn hidden_foreign_thinking_is_no_loss() {
        let (_, _, losses) = written(
            vec![says(Role::User, vec![text("u"), thought("", Dialect::Gemini)])],
            &Traits::default(),
        );
        assert!(losses.is_empty());
    }

    #[test]
    fn what_has_no_slot_is_refused_with_its_place() {
        let audio = Part::Audio { data: "x".to_owned(), format: "wav".to_owned() };
        let file = Part::File { name: None, source: Source::FileId("file_1".to_owned()) };
        for part in [audio, file] {
            let messages = vec![says(Role::User, vec![part])];
            let request = ChatRequest { messages, ..ChatRequest::default() };
            let refusal = turns(&request, &Traits::default(), &mut Losses::default()).unwrap_err();
            assert_eq!(refusal.param, CONTENT);
        }
    }
}
