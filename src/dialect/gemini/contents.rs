//! Writing a conversation for a Gemini target.
//!
//! What differs: the application's words stand apart (`systemInstruction`), and all results of a
//! turn's calls stand in one content, each with its function's name.

use serde_json::{Map, Value, json};

use super::read::MINTED;
use crate::dialect::{
    ChatRequest, Dialect, Loss, Refusal, Target,
    chat::{Message, Part, Role, Source, ToolCall, ToolResult},
    json::arguments,
    media,
};

/// What Google documents to stand for a signature that was lost.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The least that a user can say.
const PLACEHOLDER: &str = ".";

/// Where a part stands. Not which: reading may have joined messages, so a number would mislead.
const CONTENT: &str = "messages[].content";

/// Writes `contents` and `systemInstruction`, with `instruction` as the last of the latter.
pub(super) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    instruction: Option<String>,
    body: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) -> Result<(), Refusal> {
    let mut writer = Writer { target, losses };
    let (mut system, mut contents) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    for message in &request.messages {
        if message.name.is_some() {
            note(writer.losses, Loss::dropped("messages[].name"));
        }
        let (role, parts) = match message.role {
            Role::System | Role::Developer if contents.is_empty() => {
                system.extend(texts(message).map(|words| json!({"text": words})));
                continue;
            }
            // In the middle it stays where it is: at the beginning it would mean something else.
            Role::System | Role::Developer => {
                note(writer.losses, Loss::emulated("messages[].role"));
                let words = texts(message)
                    .map(|words| json!({"text": format!("[System message]\n{words}")}));
                ("user", words.collect())
            }
            Role::User => ("user", writer.user(message)?),
            Role::Assistant => ("model", writer.model(message)?),
        };
        match contents.last_mut() {
            Some((last, before)) if *last == role => before.extend(parts),
            _ if parts.is_empty() => {}
            _ => contents.push((role, parts)),
        }
    }
    if contents.is_empty() {
        note(writer.losses, Loss::emulated("messages"));
        contents.push(("user", vec![json!({"text": PLACEHOLDER})]));
    }
    let content = |(role, parts): (&str, Vec<Value>)| json!({"role": role, "parts": parts});
    body.insert("contents".to_owned(), contents.into_iter().map(content).collect());
    system.extend(instruction.map(|words| json!({"text": words})));
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    Ok(())
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    let words = message
        .parts
        .iter()
        .filter_map(|part| if let Part::Text(words) = part { Some(words.as_str()) } else { None });
    words.filter(|words| !words.is_empty())
}

fn misplaced() -> Refusal {
    Refusal::at(CONTENT, "a part stands in a turn where Gemini has no place for it")
}

struct Writer<'a> {
    target: &'a Target<'a>,
    losses: &'a mut Vec<Loss>,
}

impl Writer<'_> {
    /// Results come first and together; the pictures in them follow.
    fn user(&mut self, message: &Message) -> Result<Vec<Value>, Refusal> {
        let (mut results, mut parts) = (Vec::new(), Vec::new());
        for part in &message.parts {
            match part {
                Part::ToolResult(result) => {
                    results.push(self.tool_result(result, &mut parts)?);
                }
                Part::Text(words) | Part::Refusal(words) => parts.extend(text(words)),
                Part::Image { source, detail } => {
                    if detail.as_deref().is_some_and(|detail| detail != "auto") {
                        note(self.losses, Loss::dropped("image_url.detail"));
                    }
                    parts.push(self.media(source)?);
                }
                Part::File { source, .. } => parts.push(self.media(source)?),
                Part::Audio { data, format } => {
                    parts.push(inline(&format!("audio/{format}"), data));
                }
                Part::Reasoning(_) | Part::ToolCall(_) => return Err(misplaced()),
            }
        }
        results.append(&mut parts);
        Ok(results)
    }

    fn model(&mut self, message: &Message) -> Result<Vec<Value>, Refusal> {
        let mut parts = Vec::new();
        let mut called = false;
        for part in &message.parts {
            match part {
                Part::Text(words) | Part::Refusal(words) => parts.extend(text(words)),
                Part::Reasoning(reasoning) => match &reasoning.signature {
                    Some(signature) if signature.dialect == Dialect::Gemini => parts.push(json!({
                        "text": reasoning.text, "thought": true,
                        "thoughtSignature": signature.data,
                    })),
                    _ if reasoning.text.is_empty() => {}
                    _ => note(self.losses, Loss::dropped("reasoning_content")),
                },
                Part::ToolCall(call) => {
                    parts.push(self.call(call, !called));
                    called = true;
                }
                Part::Image { source, .. } | Part::File { source, .. } => {
                    parts.push(self.media(source)?);
                }
                Part::Audio { .. } | Part::ToolResult(_) => return Err(misplaced()),
            }
        }
        Ok(parts)
    }

    fn media(&self, source: &Source) -> Result<Value, Refusal> {
        let uri = |url: &str| {
            let mut data = json!({"fileUri": url});
            if let (Some(kind), Some(map)) = (media_type(url), data.as_object_mut()) {
                map.insert("mimeType".to_owned(), json!(kind));
            }
            json!({"fileData": data})
        };
        match source {
            Source::Base64 { media_type, data } => {
                Ok(inline(media::sniff(data).unwrap_or(media_type), data))
            }
            Source::Text(words) => Ok(json!({"text": words})),
            Source::Url(url) if url.starts_with("gs://") => Ok(uri(url)),
            Source::Url(url) if self.target.fetches_urls && url.starts_with("https://") => {
                Ok(uri(url))
            }
            Source::Url(_) if self.target.fetches_urls => {
                Err(Refusal::at(CONTENT, "the target fetches https URLs only"))
            }
            Source::Url(_) => {
                let message = "the target does not fetch URLs; send the content as base64 data";
                Err(Refusal::at(CONTENT, message))
            }
            Source::FileId(_) => {
                let message = "a file id is known to one provider only; send the content instead";
                Err(Refusal::at(CONTENT, message))
            }
        }
    }

    fn tool_result(
        &mut self,
        result: &ToolResult,
        after: &mut Vec<Value>,
    ) -> Result<Value, Refusal> {
        let Some(name) = &result.name else {
            let message =
                format!("no call with the id `{}` comes before its result", result.call_id);
            return Err(Refusal::at(CONTENT, message));
        };
        let mut words = String::new();
        for part in &result.parts {
            match part {
                Part::Text(text) => words.push_str(text),
                Part::Image { source, .. } | Part::File { source, .. } => {
                    after.push(self.media(source)?);
                    note(self.losses, Loss::emulated("tool_result.content"));
                }
                Part::Audio { .. }
                | Part::Reasoning(_)
                | Part::Refusal(_)
                | Part::ToolCall(_)
                | Part::ToolResult(_) => return Err(misplaced()),
            }
        }
        let response = match serde_json::from_str::<Value>(&words) {
            _ if result.is_error => json!({"error": words}),
            Ok(object @ Value::Object(_)) => object,
            Ok(_) | Err(_) => json!({"output": words}),
        };
        let own_id = (!result.call_id.starts_with(MINTED)).then_some(&result.call_id);
        let mut value = Map::new();
        value.extend(own_id.map(|id| ("id".to_owned(), json!(id))));
        value.insert("name".to_owned(), json!(name));
        value.insert("response".to_owned(), response);
        Ok(json!({"functionResponse": value}))
    }

    /// Only the first call of a turn is signed, and must be.
    fn call(&mut self, call: &ToolCall, first: bool) -> Value {
        let args = arguments(&call.arguments).unwrap_or_else(|| {
            note(self.losses, Loss::emulated("tool_calls[].function.arguments"));
            json!({"_raw_arguments": call.arguments})
        });
        let own_id = (!call.id.starts_with(MINTED)).then_some(&call.id);
        let mut value = Map::new();
        value.extend(own_id.map(|id| ("id".to_owned(), json!(id))));
        value.insert("name".to_owned(), json!(call.name));
        value.insert("args".to_owned(), args);
        let own = call.signature.as_ref().filter(|sign| sign.dialect == Dialect::Gemini);
        let stand_in = (first && self.target.traits.thought_signatures).then_some(NO_SIGNATURE);
        match own.map(|sign| sign.data.as_str()).or(stand_in) {
            Some(data) => json!({"functionCall": value, "thoughtSignature": data}),
            None => json!({"functionCall": value}),
        }
    }
}

/// A text that says something: an empty one is refused.
fn text(words: &str) -> Option<Value> {
    (!words.is_empty()).then(|| json!({"text": words}))
}

fn inline(media_type: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": media_type, "data": data}})
}

/// What the end of a URL's path says of its content; the provider looks for itself otherwise.
fn media_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "gif" => "image/gif",
        "jpeg" | "jpg" => "image/jpeg",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "webp" => "image/webp",
        _ => return None,
    })
}

/// Names a loss once, however many parts it befalls.
pub(super) fn note(losses: &mut Vec<Loss>, loss: Loss) {
    if !losses.contains(&loss) {
        losses.push(loss);
    }
}
