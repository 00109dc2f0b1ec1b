//! How the contents of a conversation must follow each other, and what may stand in them.

use serde_json::Value;

use super::{error::invalid, models::Ways};
use crate::sim::{
    Provider, Refused,
    image::{self, Bad},
    mint::Signer,
    read::{list, text},
};

/// What stands for a signature that a client has lost, as Google documents it.
const SKIP: &str = "skip_thought_signature_validator";

const DATA: [&str; 7] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
];

pub(super) fn check(body: &Value, ways: Ways, signer: Signer) -> Result<(), Refused> {
    let contents = list(body, "contents");
    if contents.is_empty() {
        return Err(invalid("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    for (at, content) in contents.iter().enumerate() {
        parts(content, &format!("contents[{at}]"))?;
        sequence(contents, at)?;
    }
    if let Some(system) = body.get("systemInstruction") {
        parts(system, "systemInstruction")?;
    }
    signatures(contents, ways, signer)
}

/// Each part holds one thing, and images are images.
fn parts(content: &Value, place: &str) -> Result<(), Refused> {
    let parts = list(content, "parts");
    if parts.is_empty() {
        return Err(invalid(&format!(
            "* GenerateContentRequest.{place}.parts: contents.parts must not be empty.\n"
        )));
    }
    for (at, part) in parts.iter().enumerate() {
        let held = DATA.iter().filter(|key| part.get(**key).is_some()).count();
        if held != 1 {
            return Err(invalid(&format!(
                "* GenerateContentRequest.{place}.parts[{at}].data: required oneof field 'data' must have one initialized field\n"
            )));
        }
        if let Some(blob) = part.get("inlineData") {
            media(blob)?;
        }
        let own =
            ["gs://", "https://generativelanguage.googleapis.com/", "https://www.youtube.com/"];
        let uri = part.pointer("/fileData/fileUri").and_then(Value::as_str);
        if uri.is_some_and(|uri| !own.iter().any(|own| uri.starts_with(own))) {
            return Err(invalid(
                "Unsupported file uri. Please upload the file with the Files API first.",
            ));
        }
    }
    Ok(())
}

fn media(blob: &Value) -> Result<(), Refused> {
    let media_type = text(blob, "mimeType").unwrap_or_default();
    let checked = image::check(media_type, text(blob, "data").unwrap_or_default());
    match checked {
        Ok(()) => Ok(()),
        Err(Bad::Type)
            if ["audio/", "video/", "text/", "application/pdf"]
                .iter()
                .any(|t| media_type.starts_with(t)) =>
        {
            Ok(())
        }
        Err(Bad::Type) => Err(invalid(&format!("Unsupported MIME type: {media_type}"))),
        Err(Bad::Data) => Err(invalid(
            "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed",
        )),
        Err(Bad::Mismatch) => Err(invalid(
            "Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
        )),
    }
}

fn names<'a>(content: &'a Value, key: &str) -> Vec<&'a str> {
    list(content, "parts").iter().filter_map(|part| text(part.get(key)?, "name")).collect()
}

/// Calls come after the user's turn or after responses, and responses right after their calls.
fn sequence(contents: &[Value], at: usize) -> Result<(), Refused> {
    let Some(content) = contents.get(at) else { return Ok(()) };
    let before = at.checked_sub(1).and_then(|at| contents.get(at));
    let (calls, responses) = (names(content, "functionCall"), names(content, "functionResponse"));
    let is_model = |content: &Value| text(content, "role") == Some("model");
    if !calls.is_empty() && (!is_model(content) || before.is_none_or(is_model)) {
        return Err(invalid(
            "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
        ));
    }
    let mut asked = before.map(|content| names(content, "functionCall")).unwrap_or_default();
    if !responses.is_empty() && asked.is_empty() {
        return Err(invalid(
            "Please ensure that function response turn comes immediately after a function call turn.",
        ));
    }
    asked.sort_unstable();
    let mut given = responses;
    given.sort_unstable();
    if asked != given {
        return Err(invalid(
            "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
        ));
    }
    Ok(())
}

/// A signature that is there is ours, and the first call of each step of the current turn has one.
fn signatures(contents: &[Value], ways: Ways, signer: Signer) -> Result<(), Refused> {
    let speaks = |content: &Value| {
        text(content, "role") != Some("model") && names(content, "functionResponse").is_empty()
    };
    let current = contents.iter().rposition(speaks).unwrap_or(0);
    for (at, content) in contents.iter().enumerate() {
        let mut first = true;
        for part in list(content, "parts") {
            let name = part.get("functionCall").and_then(|call| text(call, "name"));
            match (text(part, "thoughtSignature"), name) {
                (Some(SKIP), _) => {}
                (Some(signature), _) => {
                    if !signer.signed(Provider::Gemini, name.unwrap_or_default(), signature) {
                        return Err(invalid("Thought signature is not valid."));
                    }
                }
                (None, Some(name)) if first && at > current && ways.signatures => {
                    return Err(invalid(&format!(
                        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:{name}` , position {}.",
                        at + 1
                    )));
                }
                (None, Some(_) | None) => {}
            }
            first &= name.is_none();
        }
    }
    Ok(())
}
