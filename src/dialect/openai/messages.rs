//! Reading a conversation into the common form.
//!
//! OpenAI writes each result of a tool call as a message of its own and checks that every call got
//! one; the common form has all results of a turn in one message. So this file reads the messages
//! in order and remembers which calls are still open. What a message or part holds beyond the
//! common form is noted as `messages.KEY`, so that an encoder can say that it was lost.

use serde_json::{Map, Value};

use super::{fields::Fields, parts, reasoning};
use crate::dialect::{
    Dialect, RequestError,
    chat::{Message, Part, Role, Signature, ToolCall, ToolResult},
};

/// Reads `messages`. What has no place in the common form goes to `rest`.
pub(super) fn decode(
    messages: Value,
    rest: &mut Map<String, Value>,
) -> Result<Vec<Message>, RequestError> {
    let Value::Array(messages) = messages else {
        return Err(RequestError::at("messages", "`messages` must be a list of messages"));
    };
    if messages.is_empty() {
        return Err(RequestError::at("messages", "`messages` must not be empty"));
    }
    let mut reader =
        Reader { messages: Vec::with_capacity(messages.len()), open: Vec::new(), asked: 0, rest };
    for (number, message) in messages.into_iter().enumerate() {
        reader.message(number, message)?;
    }
    reader.close_turn()?;
    Ok(reader.messages)
}

struct Reader<'a> {
    messages: Vec<Message>,
    /// Calls that have no result yet: id and name.
    open: Vec<(String, String)>,
    /// The message that made them.
    asked: usize,
    rest: &'a mut Map<String, Value>,
}

impl Reader<'_> {
    fn message(&mut self, number: usize, value: Value) -> Result<(), RequestError> {
        let at = format_args!("messages[{number}]");
        let mut fields = Fields::new(value, at)?;
        let role = fields.required("role")?;
        if role == "tool" || role == "function" {
            return self.result(fields, &role);
        }
        self.close_turn()?;
        let (role, allowed) = match role.as_str() {
            "system" => (Role::System, parts::Allowed::Text),
            "developer" => (Role::Developer, parts::Allowed::Text),
            "user" => (Role::User, parts::Allowed::All),
            "assistant" => (Role::Assistant, parts::Allowed::TextAndRefusal),
            _ => {
                let what = "must be system, developer, user, assistant or tool";
                return Err(fields.error("role", what));
            }
        };
        let name = fields.text("name")?;
        let mut parts = Vec::new();
        if role == Role::Assistant {
            reasoning::decode(&mut fields, &mut parts);
        }
        let content = fields.map.shift_remove("content");
        let given = content.is_some();
        if let Some(content) = content {
            let at = format_args!("messages[{number}].content");
            parts::decode(content, at, allowed, &mut parts, self.rest)?;
        }
        if role == Role::Assistant {
            self.assistant(number, &mut fields, &mut parts)?;
        }
        // An assistant's turn may lack content if something stands in for it.
        let stands_in =
            parts.iter().any(|part| matches!(part, Part::ToolCall(_) | Part::Refusal(_)))
                || fields.map.contains_key("audio");
        if !given && !stands_in {
            return Err(fields.error("content", "is missing"));
        }
        fields.note_rest(self.rest);
        self.messages.push(Message { role, name, parts });
        Ok(())
    }

    /// What only an assistant's turn has: a refusal, and calls.
    fn assistant(
        &mut self,
        number: usize,
        fields: &mut Fields<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<(), RequestError> {
        let calls = match fields.map.shift_remove("tool_calls") {
            None => Vec::new(),
            Some(Value::Array(calls)) => calls,
            Some(_) => return Err(fields.error("tool_calls", "must be a list")),
        };
        if let Some(refusal) = fields.text("refusal")? {
            parts.push(Part::Refusal(refusal));
        }
        self.asked = number;
        for (n, call) in calls.into_iter().enumerate() {
            let at = format_args!("messages[{number}].tool_calls[{n}]");
            self.call(Fields::new(call, at)?, parts)?;
        }
        if let Some(call) = fields.map.shift_remove("function_call") {
            let at = format_args!("messages[{number}].function_call");
            let mut call = Fields::new(call, at)?;
            let name = call.required("name")?;
            // The form of 2023 has no ids: one call a message, so its number will do.
            let id = format!("call_{number}");
            let arguments = call.required("arguments")?;
            self.open.push((id.clone(), name.clone()));
            parts.push(Part::ToolCall(ToolCall { id, name, arguments, signature: None }));
        }
        // Beside calls an empty text says nothing, and Anthropic refuses it.
        if parts.iter().any(|part| matches!(part, Part::ToolCall(_))) {
            parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        }
        Ok(())
    }

    fn call(&mut self, mut call: Fields<'_>, parts: &mut Vec<Part>) -> Result<(), RequestError> {
        let kind = call.required("type")?;
        if kind != "function" {
            let what = "must be function: calls of other tools cannot be translated";
            return Err(call.error("type", what));
        }
        let id = call.required("id")?;
        let at = call.at;
        let inner = call.map.shift_remove("function").unwrap_or_default();
        let at = format_args!("{at}.function");
        let mut function = Fields::new(inner, at)?;
        let name = function.required("name")?;
        let arguments = function.text("arguments")?.unwrap_or_default();
        let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
        let extra = call.map.shift_remove("extra_content").unwrap_or_default();
        let signature = extra.pointer("/google/thought_signature").and_then(Value::as_str);
        let signature =
            signature.map(|data| Signature { dialect: Dialect::Gemini, data: data.to_owned() });
        // Streaming clients often leave the number of a call in it.
        call.map.shift_remove("index");
        call.note_rest(self.rest);
        self.open.push((id.clone(), name.clone()));
        parts.push(Part::ToolCall(ToolCall { id, name, arguments, signature }));
        Ok(())
    }

    /// A result joins those before it: together they are one turn.
    fn result(&mut self, mut fields: Fields<'_>, role: &str) -> Result<(), RequestError> {
        let (key, wanted) = if role == "tool" {
            ("tool_call_id", fields.required("tool_call_id")?)
        } else {
            ("name", fields.required("name")?)
        };
        let call = self
            .open
            .iter()
            .position(|(id, name)| wanted == *(if role == "tool" { id } else { name }));
        let Some(call) = call else {
            let what = format!("`{wanted}` answers no call of the message before");
            return Err(RequestError::at(format!("{}.{key}", fields.at), what));
        };
        let (call_id, name) = self.open.remove(call);
        fields.map.shift_remove("name");
        let content = fields.map.shift_remove("content");
        let content = content.ok_or_else(|| fields.error("content", "is missing"))?;
        let mut parts = Vec::new();
        let at = fields.at;
        let at = format_args!("{at}.content");
        parts::decode(content, at, parts::Allowed::Text, &mut parts, self.rest)?;
        fields.note_rest(self.rest);
        let result = ToolResult { call_id, name: Some(name), parts, is_error: false };
        let result = Part::ToolResult(result);
        match self.messages.last_mut() {
            Some(last) if matches!(last.parts.last(), Some(Part::ToolResult(_))) => {
                last.parts.push(result);
            }
            _ => {
                let parts = vec![result];
                self.messages.push(Message { role: Role::User, name: None, parts });
            }
        }
        Ok(())
    }

    /// A turn that made calls ends when each has its result.
    fn close_turn(&self) -> Result<(), RequestError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = self.open.iter().map(|(id, _)| id.as_str()).collect();
        let message = format!(
            "an assistant's message with tool calls must be followed by a tool message for each; \
             these have none: {}",
            ids.join(", ")
        );
        Err(RequestError::at(format!("messages[{}].tool_calls", self.asked), message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(messages: Value) -> Result<(Vec<Message>, Map<String, Value>), RequestError> {
        let mut rest = Map::new();
        let read = decode(messages, &mut rest)?;
        Ok((read, rest))
    }

    fn call(id: &str, name: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}})
    }

    fn results(message: &Message) -> Vec<(&str, Option<&str>)> {
        let results = message.parts.iter().map(|part| {
            let Part::ToolResult(result) = part else { panic!("{part:?}") };
            (result.call_id.as_str(), result.name.as_deref())
        });
        results.collect()
    }

    #[test]
    fn the_results_of_a_turn_are_one_message_and_know_their_function() {
        let (messages, rest) = read(json!([
            {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
            {"role": "user", "name": "ann", "content": "go"},
            {"role": "assistant", "content": "", "refusal": null, "annotations": [],
             "tool_calls": [call("a", "f"), call("b", "g")]},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
            {"role": "user", "content": "and?"},
        ]))
        .unwrap();
        assert!(rest.is_empty(), "{rest:?}");
        let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
        let expected = [Role::Developer, Role::User, Role::Assistant, Role::User, Role::User];
        assert_eq!(roles, expected);
        assert_eq!(messages[1].name.as_deref(), Some("ann"));
        // The empty text beside the calls is gone.
        assert!(matches!(messages[2].parts[..], [Part::ToolCall(_), Part::ToolCall(_)]));
        assert_eq!(results(&messages[3]), [("b", Some("g")), ("a", Some("f"))]);
        assert_eq!(messages[4].parts, [Part::Text("and?".to_owned())]);
    }

    #[test]
    fn results_of_two_turns_stay_apart() {
        let turn = |id: &str| {
            [
                json!({"role": "assistant", "tool_calls": [call(id, "f")]}),
                json!({"role": "tool", "tool_call_id": id, "content": ""}),
            ]
        };
        let messages: Value = [turn("a"), turn("b")].concat().into();
        assert_eq!(read(messages).unwrap().0.len(), 4);
    }

    #[test]
    fn the_calls_of_2023_get_an_id() {
        let (messages, _) = read(json!([
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
        ]))
        .unwrap();
        assert_eq!(results(&messages[1]), [("call_0", Some("f"))]);
    }

    #[test]
    fn what_has_no_place_is_noted() {
        let mut signed = call("a", "f");
        signed["extra_content"] = json!({"google": {"thought_signature": "s"}});
        let (messages, rest) = read(json!([
            {"role": "user", "content": [
                {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
            ]},
            {"role": "assistant", "content": null, "audio": {"id": "audio_1"}},
            {"role": "assistant", "tool_calls": [signed]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ]))
        .unwrap();
        let noted: Vec<&String> = rest.keys().collect();
        assert_eq!(noted, ["messages.prompt_cache_breakpoint", "messages.audio"]);
        let Part::ToolCall(call) = &messages[2].parts[0] else { panic!("{messages:?}") };
        let signature = Signature { dialect: Dialect::Gemini, data: "s".to_owned() };
        assert_eq!(call.signature, Some(signature));
    }

    #[test]
    fn a_conversation_that_openai_would_refuse_is_refused_by_its_path() {
        let asked = json!({"role": "assistant", "tool_calls": [call("a", "f")]});
        let told = json!({"role": "tool", "tool_call_id": "a", "content": "1"});
        let user = json!({"role": "user", "content": "x"});
        for (messages, param) in [
            (json!("hi"), "messages"),
            (json!(["hi"]), "messages[0]"),
            (json!([{"content": "x"}]), "messages[0].role"),
            (json!([{"role": "bot", "content": "x"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (json!([{"role": "user", "content": []}]), "messages[0].content"),
            (json!([{"role": "user", "content": 7}]), "messages[0].content"),
            (json!([{"role": "user", "content": "x", "name": 7}]), "messages[0].name"),
            (json!([{"role": "assistant"}]), "messages[0].content"),
            (json!([told]), "messages[0].tool_call_id"),
            (json!([asked, told, told]), "messages[2].tool_call_id"),
            (json!([asked, {"role": "tool", "content": "1"}]), "messages[1].tool_call_id"),
            (json!([asked, {"role": "tool", "tool_call_id": "a"}]), "messages[1].content"),
            (json!([asked, user, told]), "messages[0].tool_calls"),
            (json!([user, asked]), "messages[1].tool_calls"),
            (
                json!([{"role": "assistant", "tool_calls": [{"type": "custom"}]}]),
                "messages[0].tool_calls[0].type",
            ),
            (
                json!([{"role": "assistant", "tool_calls": [
                    {"type": "function", "id": "a", "function": {}},
                ]}]),
                "messages[0].tool_calls[0].function.name",
            ),
        ] {
            let error = read(messages.clone()).expect_err(&messages.to_string());
            assert_eq!(error.param.as_deref(), Some(param), "{messages}: {}", error.message);
        }
    }
}
