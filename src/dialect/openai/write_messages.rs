//! Writing a conversation for an OpenAI or compatible target.
//!
//! What differs: each result of a call is a message of its own and takes text only, thinking has no
//! place at all, and a name may stand beside the role.

use serde_json::{Map, Value, json};

use crate::dialect::{
    ChatRequest, Loss, Refusal,
    chat::{Message, OutputFormat, Part, Role, Source, ToolResult},
    traits::Traits,
};

/// The name of a document that has none; OpenAI wants one.
const DOCUMENT: &str = "document.pdf";

pub(super) fn encode(
    request: &ChatRequest,
    traits: &Traits,
    losses: &mut Vec<Loss>,
) -> Result<Vec<Value>, Refusal> {
    let mut writer = Writer { messages: Vec::new(), losses };
    let system = if traits.developer_role { "developer" } else { "system" };
    if let Some(note) = schema_note(&request.output, traits) {
        writer.messages.push(json!({"role": system, "content": note}));
    }
    for message in &request.messages {
        match message.role {
            Role::System | Role::Developer => {
                let content = message.parts.iter().map(|part| writer.part(part));
                let content = content.collect::<Result<Vec<_>, _>>()?;
                writer.say(system, message, content);
            }
            Role::User => writer.user(message)?,
            Role::Assistant => writer.assistant(message)?,
        }
    }
    // OpenAI answers the model's own words instead of going on with them.
    if request.messages.last().is_some_and(|last| last.role == Role::Assistant) {
        writer.note(Loss::emulated("messages"));
    }
    Ok(writer.messages)
}

struct Writer<'a> {
    messages: Vec<Value>,
    losses: &'a mut Vec<Loss>,
}

impl Writer<'_> {
    fn say(&mut self, role: &str, message: &Message, content: Vec<Value>) {
        if content.is_empty() {
            return;
        }
        let mut written = Map::from_iter([
            ("role".to_owned(), json!(role)),
            ("content".to_owned(), simplest(content)),
        ]);
        if let Some(name) = &message.name {
            written.insert("name".to_owned(), json!(name));
        }
        self.messages.push(Value::Object(written));
    }

    /// Results first, whatever stood before them: they must follow the calls at once.
    fn user(&mut self, message: &Message) -> Result<(), Refusal> {
        let mut content = Vec::new();
        for part in &message.parts {
            if let Part::ToolResult(result) = part {
                self.result(result, &mut content)?;
            } else {
                content.push(self.part(part)?);
            }
        }
        self.say("user", message, content);
        Ok(())
    }

    /// A tool message takes text only: pictures go into the user's turn that follows.
    fn result(&mut self, result: &ToolResult, after: &mut Vec<Value>) -> Result<(), Refusal> {
        let mut text = if result.is_error { "Error: ".to_owned() } else { String::new() };
        for part in &result.parts {
            if let Part::Text(words) = part {
                text.push_str(words);
            } else {
                after.push(self.part(part)?);
                self.note(Loss::emulated("tool_result.content"));
            }
        }
        if result.is_error {
            self.note(Loss::emulated("tool_result.is_error"));
        }
        let id = &result.call_id;
        self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
        Ok(())
    }

    fn assistant(&mut self, message: &Message) -> Result<(), Refusal> {
        let mut text = None::<String>;
        let mut refusal = None::<String>;
        let mut calls = Vec::new();
        for part in &message.parts {
            match part {
                Part::Text(words) => text.get_or_insert_default().push_str(words),
                Part::Refusal(words) => refusal.get_or_insert_default().push_str(words),
                Part::ToolCall(call) => calls.push(json!({
                    "id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                })),
                // OpenAI refuses a message that has it.
                Part::Reasoning(_) => self.note(Loss::dropped("thinking")),
                Part::Audio { .. } | Part::File { .. } | Part::Image { .. } => {
                    let what = "OpenAI's models take sound, documents and pictures of users only";
                    return Err(Refusal::at("messages[].content", what));
                }
                Part::ToolResult(_) => return Err(misplaced()),
            }
        }
        if text.is_none() && refusal.is_none() && calls.is_empty() {
            // Nothing but thinking: a turn without content is refused.
            text = Some(String::new());
        }
        let mut written = Map::from_iter([
            ("role".to_owned(), json!("assistant")),
            ("content".to_owned(), json!(text)),
        ]);
        if let Some(refusal) = refusal {
            written.insert("refusal".to_owned(), json!(refusal));
        }
        if !calls.is_empty() {
            written.insert("tool_calls".to_owned(), Value::Array(calls));
        }
        if let Some(name) = &message.name {
            written.insert("name".to_owned(), json!(name));
        }
        self.messages.push(Value::Object(written));
        Ok(())
    }

    fn part(&mut self, part: &Part) -> Result<Value, Refusal> {
        Ok(match part {
            Part::Text(words) | Part::Refusal(words) => json!({"type": "text", "text": words}),
            Part::Image { source, detail } => {
                let mut image = Map::from_iter([("url".to_owned(), json!(url(source)?))]);
                if let Some(detail) = detail {
                    image.insert("detail".to_owned(), json!(detail));
                }
                json!({"type": "image_url", "image_url": image})
            }
            Part::Audio { data, format } => {
                json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
            }
            Part::File { name, source: Source::Text(words) } => {
                self.note(Loss::emulated("document"));
                let title = name.as_deref().unwrap_or("document");
                json!({"type": "text", "text": format!("{title}:\n{words}")})
            }
            Part::File { source: Source::Url(_), .. } => {
                let what = "OpenAI takes documents inline only, not by address";
                return Err(Refusal::at("document.source", what));
            }
            Part::File { name, source } => {
                let name = name.as_deref().unwrap_or(DOCUMENT);
                json!({"type": "file", "file": {"filename": name, "file_data": url(source)?}})
            }
            Part::Reasoning(_) | Part::ToolCall(_) | Part::ToolResult(_) => {
                return Err(misplaced());
            }
        })
    }

    /// Names a loss once, however many parts it befalls.
    fn note(&mut self, loss: Loss) {
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }
}

fn misplaced() -> Refusal {
    Refusal::at("messages[].content", "a part stands in a turn where OpenAI has no place for it")
}

fn url(source: &Source) -> Result<String, Refusal> {
    match source {
        Source::Base64 { media_type, data } => Ok(format!("data:{media_type};base64,{data}")),
        Source::Url(url) => Ok(url.clone()),
        Source::FileId(_) | Source::Text(_) => {
            let what = "a file in the store of another provider cannot be sent here";
            Err(Refusal::at("source", what))
        }
    }
}

/// A single text stands alone, as every server takes it.
fn simplest(mut content: Vec<Value>) -> Value {
    if let [only] = content.as_mut_slice()
        && let Some(text) = only.get_mut("text")
    {
        return text.take();
    }
    Value::Array(content)
}

/// The words that stand in for a schema where the target has none.
fn schema_note(output: &OutputFormat, traits: &Traits) -> Option<String> {
    match output {
        OutputFormat::JsonSchema { schema, .. } if !traits.json_schema => Some(format!(
            "Answer with one JSON object that matches this JSON Schema, and with nothing else:\n\
             {schema}"
        )),
        OutputFormat::JsonSchema { .. } | OutputFormat::JsonObject | OutputFormat::Text => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{
        Dialect,
        chat::{ReasoningPart, Signature, ToolCall},
    };

    fn written(role: Role, parts: Vec<Part>) -> Result<(Value, Vec<Loss>), Refusal> {
        let messages = vec![Message { role, name: None, parts }];
        let request = ChatRequest { messages, ..ChatRequest::default() };
        let traits = Traits { developer_role: true, ..Traits::default() };
        let mut losses = Vec::new();
        encode(&request, &traits, &mut losses).map(|messages| (messages.into(), losses))
    }

    fn text(words: &str) -> Part {
        Part::Text(words.to_owned())
    }

    fn picture() -> Part {
        Part::Image { source: Source::Url("https://a.b/c".to_owned()), detail: None }
    }

    #[test]
    fn results_come_first_and_their_pictures_follow() {
        let result = |id: &str, parts, is_error| {
            Part::ToolResult(ToolResult { call_id: id.to_owned(), name: None, parts, is_error })
        };
        let parts = vec![
            text("so?"),
            result("a", vec![text("1"), picture(), text("2")], false),
            result("b", vec![text("gone")], true),
        ];
        let (messages, losses) = written(Role::User, parts).unwrap();
        assert_eq!(
            messages,
            json!([
                {"role": "tool", "tool_call_id": "a", "content": "12"},
                {"role": "tool", "tool_call_id": "b", "content": "Error: gone"},
                {"role": "user", "content": [
                    {"type": "text", "text": "so?"},
                    {"type": "image_url", "image_url": {"url": "https://a.b/c"}},
                ]},
            ])
        );
        let expected =
            [Loss::emulated("tool_result.content"), Loss::emulated("tool_result.is_error")];
        assert_eq!(losses, expected);
    }

    #[test]
    fn thinking_and_signatures_of_others_stay_behind() {
        let signature = Some(Signature { dialect: Dialect::Gemini, data: "s".to_owned() });
        let thought = ReasoningPart { signature: signature.clone(), ..ReasoningPart::default() };
        let call = ToolCall {
            id: "c".to_owned(),
            name: "f".to_owned(),
            arguments: "{}".to_owned(),
            signature,
        };
        let parts =
            vec![Part::Reasoning(thought.clone()), Part::Reasoning(thought), Part::ToolCall(call)];
        let (messages, losses) = written(Role::Assistant, parts.clone()).unwrap();
        let call = json!({"id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{}"}});
        assert_eq!(messages, json!([{"role": "assistant", "content": null, "tool_calls": [call]}]));
        // Nor does OpenAI go on with a turn of the model.
        assert_eq!(losses, [Loss::dropped("thinking"), Loss::emulated("messages")]);
        // A turn of thinking alone still has content, or it would be refused.
        let (messages, _) = written(Role::Assistant, parts[..1].to_vec()).unwrap();
        assert_eq!(messages, json!([{"role": "assistant", "content": ""}]));
    }

    #[test]
    fn instructions_get_the_role_that_the_model_prefers() {
        for role in [Role::System, Role::Developer] {
            let (messages, _) = written(role, vec![text("be brief")]).unwrap();
            assert_eq!(messages, json!([{"role": "developer", "content": "be brief"}]));
        }
    }

    #[test]
    fn a_document_as_text_is_sent_as_text() {
        let source = Source::Text("words".to_owned());
        let (messages, losses) =
            written(Role::User, vec![Part::File { name: Some("t".to_owned()), source }]).unwrap();
        assert_eq!(messages, json!([{"role": "user", "content": "t:\nwords"}]));
        assert_eq!(losses, [Loss::emulated("document")]);
    }

    #[test]
    fn what_would_change_the_meaning_is_refused() {
        let file = |source| Part::File { name: None, source };
        for (role, part) in [
            (Role::User, file(Source::FileId("f".to_owned()))),
            (Role::User, file(Source::Url("https://a.b/c.pdf".to_owned()))),
            (Role::Assistant, picture()),
        ] {
            assert!(written(role, vec![part.clone()]).is_err(), "{part:?}");
        }
    }
}
