//! Reads the messages of a client's request.
//!
//! Each kind of block becomes the part that says the same. Blocks that only Anthropic's own servers
//! understand (a server tool's call and result) are left out and named; a file in Anthropic's
//! container cannot be left out without changing the question, so it is an error.
//!
//! Calls and results must pair up, as the API demands: every dialect refuses a loose end, but few
//! say it as clearly.

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::{
    fields::{Fields, lose},
    sources,
};
use crate::dialect::{
    RequestError,
    anthropic::marks,
    chat::{Message, Part, ReasoningPart, Role, ToolCall, ToolResult},
};

/// The conversation as far as it is read.
#[derive(Debug)]
pub(super) struct Conversation<'r> {
    /// What is lost, by name.
    rest: &'r mut Map<String, Value>,
    /// The name of the function behind each call.
    names: FxHashMap<String, String>,
    /// Calls of the last assistant turn that have no result yet.
    pending: Vec<String>,
    last: Option<Role>,
}

impl<'r> Conversation<'r> {
    pub(super) fn new(rest: &'r mut Map<String, Value>) -> Self {
        Self { rest, names: FxHashMap::default(), pending: Vec::new(), last: None }
    }

    /// Reads one message.
    pub(super) fn message(
        &mut self,
        value: Value,
        index: usize,
        is_last: bool,
    ) -> Result<Message, RequestError> {
        let mut fields = Fields::of(value, format!("messages[{index}]"))?;
        let role = match fields.required_string("role")?.as_str() {
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "user" => Role::User,
            _ => return Err(fields.error("role", "must be one of user, assistant, system")),
        };
        if role == Role::Assistant && self.last != Some(Role::Assistant) {
            self.check_pairs(index)?;
        }
        self.last = Some(role);
        let path = fields.at("content");
        let content = fields
            .take("content")
            .ok_or_else(|| RequestError::at(path.clone(), "field required"))?;
        let may_be_empty = is_last && role == Role::Assistant;
        let parts = if may_be_empty && is_empty(&content) {
            Vec::new()
        } else {
            self.content(content, role, &path)?
        };
        lose(self.rest, "messages", fields);
        Ok(Message { role, name: None, parts })
    }

    /// Takes the end of the conversation.
    pub(super) fn end(&self, last: usize) -> Result<(), RequestError> {
        if self.last == Some(Role::Assistant) { Ok(()) } else { self.check_pairs(last) }
    }

    fn check_pairs(&self, index: usize) -> Result<(), RequestError> {
        let Some(id) = self.pending.first() else { return Ok(()) };
        let message = format!("tool_use `{id}` has no tool_result in the message after it");
        Err(RequestError::at(format!("messages[{index}]"), message))
    }

    /// Reads a content: a text, or blocks.
    pub(super) fn content(
        &mut self,
        content: Value,
        role: Role,
        path: &str,
    ) -> Result<Vec<Part>, RequestError> {
        let blocks = match content {
            Value::String(text) => return Ok(vec![text_part(text, path)?]),
            Value::Array(blocks) if blocks.is_empty() => {
                return Err(RequestError::at(path, "must not be empty"));
            }
            Value::Array(blocks) => blocks,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(RequestError::at(path, "must be a string or an array of blocks"));
            }
        };
        let mut parts = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.into_iter().enumerate() {
            self.block(block, role, format!("{path}[{index}]"), &mut parts)?;
        }
        // Results come first: the API demands it, and the common form relies on it.
        parts.sort_by_key(|part| !matches!(part, Part::ToolResult(_)));
        Ok(parts)
    }

    fn block(
        &mut self,
        block: Value,
        role: Role,
        path: String,
        parts: &mut Vec<Part>,
    ) -> Result<(), RequestError> {
        let mut fields = Fields::of(block, path)?;
        let kind = fields.required_string("type")?;
        match (kind.as_str(), role) {
            ("text", _) => {
                let path = fields.at("text");
                parts.push(text_part(fields.required_string("text")?, &path)?);
            }
            ("tool_result", Role::User) => parts.push(self.tool_result(&mut fields)?),
            ("image" | "document" | "search_result", Role::User) => {
                let mut inner = |content, role, path: &str| self.content(content, role, path);
                sources::medium(&kind, &mut fields, parts, &mut inner)?;
            }
            ("thinking" | "redacted_thinking", Role::Assistant) => {
                parts.push(thinking(&kind, &mut fields)?);
            }
            ("tool_use", Role::Assistant) => parts.push(self.tool_use(&mut fields)?),
            (server, Role::Assistant) if is_of_server(server) => {
                self.rest.entry(kind).or_insert(Value::Bool(true));
                return Ok(());
            }
            ("container_upload", _) => {
                let message = "container_upload works on Anthropic's own API only";
                return Err(fields.error("type", message));
            }
            _ => {
                let message = format!("a block of type `{kind}` cannot stand here");
                return Err(fields.error("type", message));
            }
        }
        lose(self.rest, &kind, fields);
        Ok(())
    }

    fn tool_use(&mut self, fields: &mut Fields) -> Result<Part, RequestError> {
        let (id, signature) = marks::read_id(fields.required_string("id")?);
        let name = fields.required_string("name")?;
        let arguments = match fields.take("input") {
            Some(input @ Value::Object(_)) => input.to_string(),
            _ => return Err(fields.error("input", "must be an object")),
        };
        // Every answer carries it, so every replay does; it says nothing but the usual.
        let caller = fields.take("caller");
        if caller.as_ref().is_some_and(|caller| caller.get("type") != Some(&"direct".into())) {
            self.rest.entry("tool_use.caller").or_insert(Value::Bool(true));
        }
        self.names.insert(id.clone(), name.clone());
        self.pending.push(id.clone());
        Ok(Part::ToolCall(ToolCall { id, name, arguments, signature }))
    }

    fn tool_result(&mut self, fields: &mut Fields) -> Result<Part, RequestError> {
        let (call_id, _) = marks::read_id(fields.required_string("tool_use_id")?);
        let Some(name) = self.names.get(&call_id).cloned() else {
            let message = format!("no tool_use before it has the id `{call_id}`");
            return Err(fields.error("tool_use_id", message));
        };
        self.pending.retain(|id| *id != call_id);
        let is_error = fields.flag("is_error")?.unwrap_or(false);
        let path = fields.at("content");
        let parts = match fields.take("content") {
            None => Vec::new(),
            Some(Value::String(text)) => vec![Part::Text(text)],
            Some(Value::Array(blocks)) => {
                let mut parts = Vec::with_capacity(blocks.len());
                for (index, block) in blocks.into_iter().enumerate() {
                    self.result_block(block, format!("{path}[{index}]"), &mut parts)?;
                }
                parts
            }
            Some(_) => {
                return Err(fields.error("content", "must be a string or an array of blocks"));
            }
        };
        Ok(Part::ToolResult(ToolResult { call_id, name: Some(name), parts, is_error }))
    }

    /// A result may hold what a user may say, but no result, and references to tools, which only
    /// Anthropic's tool search understands.
    fn result_block(
        &mut self,
        block: Value,
        path: String,
        parts: &mut Vec<Part>,
    ) -> Result<(), RequestError> {
        match block.get("type").and_then(Value::as_str) {
            Some(kind @ ("tool_reference" | "browser_state")) => {
                self.rest.entry(kind).or_insert(Value::Bool(true));
                Ok(())
            }
            Some("tool_result") => {
                Err(RequestError::at(path, "a tool_result cannot stand in a tool_result"))
            }
            _ => self.block(block, Role::User, path, parts),
        }
    }
}

fn is_empty(content: &Value) -> bool {
    match content {
        Value::String(text) => text.trim().is_empty(),
        Value::Array(blocks) => blocks.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// Whether a block is a server tool's call or result.
fn is_of_server(kind: &str) -> bool {
    kind == "server_tool_use" || (kind.ends_with("_tool_result") && kind != "tool_result")
}

fn text_part(text: String, path: &str) -> Result<Part, RequestError> {
    if text.trim().is_empty() {
        return Err(RequestError::at(path, "text must hold more than white space"));
    }
    Ok(Part::Text(text))
}

fn thinking(kind: &str, fields: &mut Fields) -> Result<Part, RequestError> {
    let redacted = kind == "redacted_thinking";
    let (text, word) = if redacted {
        (String::new(), fields.required_string("data")?)
    } else {
        (fields.required_string("thinking")?, fields.required_string("signature")?)
    };
    let signature = marks::read_signature(word);
    Ok(Part::Reasoning(ReasoningPart { text, signature, redacted }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::{
        Dialect,
        chat::{Signature, Source},
    };

    /// Reads messages the way a request does.
    fn read(messages: Value) -> Result<(Vec<Message>, Vec<String>), RequestError> {
        let Value::Array(list) = messages else { panic!() };
        let mut rest = Map::new();
        let mut conversation = Conversation::new(&mut rest);
        let last = list.len() - 1;
        let mut read = Vec::new();
        for (index, message) in list.into_iter().enumerate() {
            read.push(conversation.message(message, index, index == last)?);
        }
        conversation.end(last)?;
        Ok((read, rest.keys().cloned().collect()))
    }

    fn user(content: impl Into<Value>) -> Value {
        json!({"role": "user", "content": content.into()})
    }

    fn assistant(content: impl Into<Value>) -> Value {
        json!({"role": "assistant", "content": content.into()})
    }

    #[test]
    fn a_turn_of_tools_keeps_its_thinking_and_finds_its_names() {
        let id = "call_1--tlg1--Zw";
        let (messages, lost) = read(json!([
            user(json!("hi")),
            assistant(json!([
                {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
                {"type": "thinking", "thinking": "bare", "signature": "trunkline.none"},
                {"type": "redacted_thinking", "data": "trunkline.gemini.x"},
                {"type": "text", "text": "a", "citations": null},
                {"type": "tool_use", "id": id, "name": "f", "input": {"a": 1},
                 "caller": {"type": "direct"}},
            ])),
            user(json!([
                {"type": "text", "text": "and", "cache_control": {"type": "ephemeral"}},
                {"type": "tool_result", "tool_use_id": id, "is_error": true, "content": [
                    {"type": "text", "text": "no"},
                    {"type": "tool_reference", "tool_name": "g"}]},
            ])),
        ]))
        .unwrap();
        let signed = |dialect, data: &str| Some(Signature { dialect, data: data.to_owned() });
        let thought = |text: &str, signature, redacted| {
            Part::Reasoning(ReasoningPart { text: text.to_owned(), signature, redacted })
        };
        let gemini = signed(Dialect::Gemini, "g");
        let assistant = vec![
            thought("hm", signed(Dialect::AnthropicMessages, "EqQB"), false),
            thought("bare", None, false),
            thought("", signed(Dialect::Gemini, "x"), true),
            Part::Text("a".to_owned()),
            Part::ToolCall(ToolCall {
                id: "call_1".to_owned(),
                name: "f".to_owned(),
                arguments: "{\"a\":1}".to_owned(),
                signature: gemini,
            }),
        ];
        assert_eq!(messages[1].parts, assistant);
        let result = ToolResult {
            call_id: "call_1".to_owned(),
            name: Some("f".to_owned()),
            parts: vec![Part::Text("no".to_owned())],
            is_error: true,
        };
        assert_eq!(messages[2].parts, [Part::ToolResult(result), Part::Text("and".to_owned())]);
        assert_eq!(lost, ["cache_control", "tool_reference"]);
    }

    #[test]
    fn pictures_and_documents_are_read_from_wherever_they_are() {
        let (messages, _) = read(json!([user(json!([
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            {"type": "document", "title": "T", "context": "C",
             "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            {"type": "document", "source": {"type": "content", "content": [
                {"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}},
            {"type": "search_result", "title": "T", "source": "https://x",
             "content": [{"type": "text", "text": "found"}]},
        ]))]))
        .unwrap();
        let text = |text: &str| Part::Text(text.to_owned());
        let source = Source::Base64 { media_type: "image/png".into(), data: "iVBO".into() };
        let expected = [
            Part::Image { source, detail: None },
            Part::Image { source: Source::Url("https://x/y.png".into()), detail: None },
            text("C"),
            Part::File { name: Some("T".into()), source: Source::Text("words".into()) },
            Part::File { name: None, source: Source::Text("one\ntwo".into()) },
            text("T\nhttps://x"),
            text("found"),
        ];
        assert_eq!(messages[0].parts, expected);
    }

    #[test]
    fn server_tools_are_left_out_and_named() {
        let (messages, lost) = read(json!([
            user(json!("hi")),
            assistant(json!([
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                {"type": "text", "text": "found"},
            ])),
        ]))
        .unwrap();
        assert_eq!(messages[1].parts, [Part::Text("found".to_owned())]);
        assert_eq!(lost, ["server_tool_use", "web_search_tool_result"]);
    }

    #[test]
    fn the_last_answer_alone_may_be_empty() {
        assert!(read(json!([user(json!("a")), assistant(json!(""))])).is_ok());
        let middle = json!([user(json!("a")), assistant(json!("")), user(json!("b"))]);
        assert_eq!(read(middle).unwrap_err().param.as_deref(), Some("messages[1].content"));
    }

    #[test]
    fn what_anthropic_refuses_is_refused_with_its_place() {
        let called = assistant(json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}]));
        let rows = [
            (json!([{"role": "tool", "content": "x"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (json!([user(json!([]))]), "messages[0].content"),
            (json!([user(json!([{"type": "text", "text": " "}]))]), "messages[0].content[0].text"),
            (json!([user(json!([{"type": "poem"}]))]), "messages[0].content[0].type"),
            (json!([user(json!([{"type": "thinking"}]))]), "messages[0].content[0].type"),
            (
                json!([user(json!([{"type": "image", "source": {"type": "base64",
                    "media_type": "image/svg+xml", "data": "x"}}]))]),
                "messages[0].content[0].source.media_type",
            ),
            (
                json!([user(json!([{"type": "tool_result", "tool_use_id": "t"}]))]),
                "messages[0].content[0].tool_use_id",
            ),
            (json!([user(json!("a")), called, user(json!("b"))]), "messages[2]"),
            (
                json!([
                    user(json!("a")),
                    assistant(json!([
                    {"type": "tool_use", "id": "t", "name": "f", "input": "{}"}]))
                ]),
                "messages[1].content[0].input",
            ),
        ];
        for (messages, param) in rows {
            let error = read(messages.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{messages}");
        }
    }
}
