//! What Gemini's `generateContent` takes, field by field (`names` has made them camel case).
//!
//! Source: the types of Google's SDK, November 2026.

use crate::sim::shape::{
    Shape::{self, Any, Bool, Either, List, Map, Number, Object, Text, Whole, Word},
    may, must,
};

const MANY: usize = 100_000;

pub(super) static REQUEST: Shape = Object(&[
    must("contents", &List(&CONTENT, MANY)),
    may("cachedContent", &Text),
    may("generationConfig", &CONFIG),
    may("labels", &Map),
    may("model", &Text),
    may(
        "safetySettings",
        &List(
            &Object(&[must("category", &Text), must("threshold", &Text), may("method", &Text)]),
            MANY,
        ),
    ),
    may("serviceTier", &Word(&["unspecified", "flex", "standard", "priority"])),
    may("store", &Bool),
    may("systemInstruction", &CONTENT),
    may(
        "toolConfig",
        &Object(&[
            may(
                "functionCallingConfig",
                &Object(&[
                    may("mode", &Word(&["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"])),
                    may("allowedFunctionNames", &List(&Text, MANY)),
                ]),
            ),
            may("includeServerSideToolInvocations", &Bool),
            may("retrievalConfig", &Map),
        ]),
    ),
    may(
        "tools",
        &List(
            &Object(&[
                may("functionDeclarations", &List(&FUNCTION, 512)),
                may("codeExecution", &Map),
                may("googleSearch", &Map),
                may("urlContext", &Map),
            ]),
            MANY,
        ),
    ),
]);

static CONTENT: Shape =
    Object(&[may("role", &Word(&["user", "model"])), may("parts", &List(&PART, MANY))]);

static PART: Shape = Object(&[
    may("text", &Text),
    may("inlineData", &BLOB),
    may(
        "fileData",
        &Object(&[must("fileUri", &Text), may("mimeType", &Text), may("displayName", &Text)]),
    ),
    may("functionCall", &Object(&[may("id", &Text), must("name", &Text), may("args", &Map)])),
    may(
        "functionResponse",
        &Object(&[
            may("id", &Text),
            must("name", &Text),
            must("response", &Map),
            may("parts", &List(&Object(&[may("inlineData", &BLOB), may("fileData", &Map)]), MANY)),
            may("willContinue", &Bool),
            may("scheduling", &Text),
        ]),
    ),
    may("executableCode", &Map),
    may("codeExecutionResult", &Map),
    may("mediaResolution", &Any),
    may("partMetadata", &Map),
    may("thought", &Bool),
    may("thoughtSignature", &Text),
    may("videoMetadata", &Map),
]);

static BLOB: Shape =
    Object(&[must("mimeType", &Text), must("data", &Text), may("displayName", &Text)]);

static FUNCTION: Shape = Object(&[
    must("name", &Text),
    may("description", &Text),
    may("behavior", &Text),
    may("parameters", &SCHEMA),
    may("parametersJsonSchema", &Any),
    may("response", &SCHEMA),
    may("responseJsonSchema", &Any),
]);

/// `OpenAPI`'s part of JSON schema: all that `parameters` and `responseSchema` take.
static SCHEMA: Shape = Object(&[
    may("type", &Text),
    may("format", &Text),
    may("title", &Text),
    may("description", &Text),
    may("nullable", &Bool),
    may("default", &Any),
    may("example", &Any),
    may("items", &SCHEMA),
    may("minItems", &COUNT),
    may("maxItems", &COUNT),
    may("enum", &List(&Text, MANY)),
    may("properties", &Map),
    may("propertyOrdering", &List(&Text, MANY)),
    may("required", &List(&Text, MANY)),
    may("minProperties", &COUNT),
    may("maxProperties", &COUNT),
    may("minimum", &Number(f64::MIN, f64::MAX)),
    may("maximum", &Number(f64::MIN, f64::MAX)),
    may("minLength", &COUNT),
    may("maxLength", &COUNT),
    may("pattern", &Text),
    may("anyOf", &List(&SCHEMA, MANY)),
]);

/// Google's JSON takes 64-bit numbers as texts too.
static COUNT: Shape = Either(&[&Text, &Whole(0, i64::MAX)]);

static CONFIG: Shape = Object(&[
    may("audioTimestamp", &Bool),
    may("candidateCount", &Whole(1, 8)),
    may("continuationToken", &Text),
    may("enableAffectiveDialog", &Bool),
    may("frequencyPenalty", &Number(-2.0, 2.0)),
    may("imageConfig", &Map),
    may("logprobs", &Whole(0, 20)),
    may("maxOutputTokens", &Whole(1, i64::MAX)),
    may("mediaResolution", &Text),
    may("presencePenalty", &Number(-2.0, 2.0)),
    may("responseJsonSchema", &Any),
    may("responseLogprobs", &Bool),
    may("responseMimeType", &Word(&["text/plain", "application/json", "text/x.enum"])),
    may("responseModalities", &List(&Text, MANY)),
    may("responseSchema", &SCHEMA),
    may("seed", &Whole(i32::MIN as i64, i32::MAX as i64)),
    may("speechConfig", &Map),
    may("stopSequences", &List(&Text, 5)),
    may("temperature", &Number(0.0, 2.0)),
    may(
        "thinkingConfig",
        &Object(&[
            may("includeThoughts", &Bool),
            may("thinkingBudget", &Whole(-1, 32_768)),
            may(
                "thinkingLevel",
                &Word(&["THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"]),
            ),
        ]),
    ),
    may("topK", &Number(0.0, f64::MAX)),
    may("topP", &Number(0.0, 1.0)),
]);

/// Properties of an `OpenAPI` schema are schemas under any name, which a table cannot say.
pub(super) static PROPERTY: &Shape = &SCHEMA;
