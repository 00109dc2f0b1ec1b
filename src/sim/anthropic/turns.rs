//! How the turns of a conversation must follow each other, and what may stand in them.

use serde_json::Value;

use super::{error::invalid, models::Ways};
use crate::sim::{
    Provider, Refused,
    image::{self, Bad},
    mint::Signer,
    read::{is_name, list, text},
};

/// One turn: the server joins messages of one role that follow each other.
struct Turn<'a> {
    role: &'a str,
    /// Each with the place of its message and its own.
    blocks: Vec<(usize, usize, &'a Value)>,
}

pub(super) fn check(body: &Value, ways: Ways, signer: Signer) -> Result<(), Refused> {
    let messages = list(body, "messages");
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let role = text(message, "role").unwrap_or_default();
        if role == "system" {
            if !ways.mid_system {
                let problem = "Input should be 'user' or 'assistant'";
                return Err(invalid(&format!("messages.{at}.role: {problem}")));
            }
            continue;
        }
        words(message, at)?;
        let blocks = list(message, "content").iter().enumerate();
        let blocks = blocks.map(|(nth, block)| (at, nth, block));
        match turns.last_mut() {
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => turns.push(Turn { role, blocks: blocks.collect() }),
        }
    }
    if turns.is_empty() {
        return Err(invalid("messages: at least one message is required"));
    }
    if turns.first().is_some_and(|turn| turn.role != "user") {
        return Err(invalid("messages: first message must use the \"user\" role"));
    }
    for turn in &turns {
        turn.blocks.iter().try_for_each(|block| one(block, turn.role, signer))?;
    }
    let nothing = Turn { role: "user", blocks: Vec::new() };
    for (at, turn) in turns.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| turns.get(at)).unwrap_or(&nothing);
        answers(turn, before)?;
        answered(turn, turns.get(at + 1).unwrap_or(&nothing))?;
    }
    let budgeted = body.pointer("/thinking/type").and_then(Value::as_str) == Some("enabled");
    if budgeted { thought_first(&turns) } else { Ok(()) }
}

/// Text is never empty.
fn words(message: &Value, at: usize) -> Result<(), Refused> {
    match message.get("content") {
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(invalid(&format!("messages.{at}: text content must be non-empty")))
        }
        Some(Value::Array(blocks)) if blocks.is_empty() => {
            Err(invalid(&format!("messages.{at}: all messages must have non-empty content")))
        }
        _ => Ok(()),
    }
}

/// What one block may be, and in whose turn.
fn one(
    &(at, nth, block): &(usize, usize, &Value),
    role: &str,
    signer: Signer,
) -> Result<(), Refused> {
    let place = format!("messages.{at}.content.{nth}");
    let kind = text(block, "type").unwrap_or_default();
    let spoken = matches!(kind, "thinking" | "redacted_thinking" | "tool_use");
    if spoken && role != "assistant" {
        return Err(invalid(&format!(
            "{place}: `{kind}` blocks are only allowed in assistant messages"
        )));
    }
    if matches!(kind, "tool_result" | "image" | "document") && role != "user" {
        return Err(invalid(&format!(
            "{place}: `{kind}` blocks are only allowed in user messages"
        )));
    }
    match kind {
        "text" => {
            let text = text(block, "text").unwrap_or_default();
            if text.is_empty() {
                return Err(invalid("messages: text content blocks must be non-empty"));
            }
            if text.trim().is_empty() {
                return Err(invalid(
                    "messages: text content blocks must contain non-whitespace text",
                ));
            }
        }
        "thinking" => {
            let words = text(block, "thinking").unwrap_or_default();
            let signature = text(block, "signature").unwrap_or_default();
            if !signer.signed(Provider::Anthropic, words, signature) {
                return Err(invalid(&format!("{place}: Invalid `signature` in `thinking` block")));
            }
        }
        "redacted_thinking"
            if !signer.sealed(Provider::Anthropic, text(block, "data").unwrap_or_default()) =>
        {
            return Err(invalid(&format!("{place}: Invalid `data` in `redacted_thinking` block")));
        }
        "tool_use" => {
            let id = text(block, "id").unwrap_or_default();
            if !is_name(id, "_-", usize::MAX) {
                let problem = "String should match pattern '^[a-zA-Z0-9_-]+$'";
                return Err(invalid(&format!("{place}.tool_use.id: {problem}")));
            }
        }
        "image" => picture(block, &place)?,
        "tool_result" => {
            let inner = list(block, "content").iter();
            for block in inner.filter(|block| text(block, "type") == Some("image")) {
                picture(block, &place)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn picture(block: &Value, place: &str) -> Result<(), Refused> {
    let source = block.get("source").unwrap_or(&Value::Null);
    let media_type = text(source, "media_type").unwrap_or_default();
    let problem = match (text(source, "data"), text(source, "url")) {
        (Some(data), _) => match image::check(media_type, data) {
            Ok(()) => return Ok(()),
            Err(Bad::Data) => "image.source.base64: invalid base64 data".to_owned(),
            Err(Bad::Type) => "image.source.base64.media_type: unsupported".to_owned(),
            Err(Bad::Mismatch) => format!(
                "image.source.base64: The image was specified using the {media_type} media type, but the image appears to be another type"
            ),
        },
        (None, Some(url)) if url.starts_with("https://") => return Ok(()),
        (None, Some(_)) => "image.source.url: Only HTTPS URLs are supported.".to_owned(),
        (None, None) => return Ok(()),
    };
    Err(invalid(&format!("{place}.{problem}")))
}

fn ids<'a>(turn: &Turn<'a>, kind: &str, key: &str) -> Vec<&'a str> {
    let blocks = turn.blocks.iter().filter(|(_, _, block)| text(block, "type") == Some(kind));
    blocks.filter_map(|(_, _, block)| text(block, key)).collect()
}

/// Every result belongs to a call of the turn before.
fn answers(turn: &Turn<'_>, before: &Turn<'_>) -> Result<(), Refused> {
    let calls = ids(before, "tool_use", "id");
    for (at, nth, block) in &turn.blocks {
        let Some(id) = text(block, "tool_use_id") else { continue };
        if !calls.contains(&id) {
            let message = format!(
                "messages.{at}.content.{nth}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            );
            return Err(invalid(&message));
        }
    }
    let results = ids(turn, "tool_result", "tool_use_id");
    match results.iter().enumerate().find(|(at, id)| results.iter().take(*at).any(|b| b == *id)) {
        Some((_, id)) => {
            let message = format!(
                "messages: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
            );
            Err(invalid(&message))
        }
        None => Ok(()),
    }
}

/// Every call has its result at the beginning of the next turn.
fn answered(turn: &Turn<'_>, next: &Turn<'_>) -> Result<(), Refused> {
    let is_result =
        |(_, _, block): &&(usize, usize, &Value)| text(block, "type") == Some("tool_result");
    let first: Vec<_> = next.blocks.iter().take_while(is_result).collect();
    let results: Vec<&str> =
        first.iter().filter_map(|(_, _, block)| text(block, "tool_use_id")).collect();
    let missing = ids(turn, "tool_use", "id").into_iter().filter(|id| !results.contains(id));
    let missing: Vec<&str> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let at = turn.blocks.first().map_or(0, |(at, ..)| *at);
    let ids = missing.join(", ");
    Err(invalid(&format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )))
}

/// With a budget, the turn whose calls are answered now begins with its thinking.
fn thought_first(turns: &[Turn<'_>]) -> Result<(), Refused> {
    let Some(last) = turns.iter().rfind(|turn| turn.role == "assistant") else { return Ok(()) };
    let calls = !ids(last, "tool_use", "id").is_empty();
    let Some((at, nth, first)) = last.blocks.first().filter(|_| calls) else { return Ok(()) };
    let kind = text(first, "type").unwrap_or_default();
    if matches!(kind, "thinking" | "redacted_thinking") {
        return Ok(());
    }
    Err(invalid(&format!(
        "messages.{at}.content.{nth}.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
    )))
}
