//! What OpenAI's chat completions take, field by field.
//!
//! Source: the types of OpenAI's SDK, November 2026, and the limits of its API reference.

use crate::sim::shape::{
    Field,
    Shape::{self, Any, Bool, Either, List, Map, Number, Object, Tagged, Text, Whole, Word},
    may, must,
};

const MANY: usize = 100_000;

pub(super) static REQUEST: Shape = Object(&[
    must("model", &Text),
    must("messages", &List(&MESSAGE, MANY)),
    may("audio", &Map),
    may("frequency_penalty", &Number(-2.0, 2.0)),
    may("function_call", &Any),
    may("functions", &List(&FUNCTION, 128)),
    may("logit_bias", &Map),
    may("logprobs", &Bool),
    may("max_completion_tokens", &Whole(1, i64::MAX)),
    may("max_tokens", &Whole(1, i64::MAX)),
    may("metadata", &Map),
    may("modalities", &List(&Word(&["text", "audio"]), 2)),
    may("moderation", &Map),
    may("n", &Whole(1, 128)),
    may("parallel_tool_calls", &Bool),
    may("prediction", &Map),
    may("presence_penalty", &Number(-2.0, 2.0)),
    may("prompt_cache_key", &Text),
    may("prompt_cache_options", &Map),
    may("prompt_cache_retention", &Text),
    may("reasoning_effort", &Word(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    may("response_format", &FORMAT),
    may("safety_identifier", &Text),
    may("seed", &Whole(i64::MIN, i64::MAX)),
    may("service_tier", &Word(&["auto", "default", "flex", "scale", "priority", "fast"])),
    may("stop", &Either(&[&Text, &List(&Text, 4)])),
    may("store", &Bool),
    may("stream", &Bool),
    may(
        "stream_options",
        &Object(&[may("include_usage", &Bool), may("include_obfuscation", &Bool)]),
    ),
    may("temperature", &Number(0.0, 2.0)),
    may("tool_choice", &Either(&[&Word(&["none", "auto", "required"]), &CHOICE])),
    may("tools", &List(&TOOL, 128)),
    may("top_logprobs", &Whole(0, 20)),
    may("top_p", &Number(0.0, 1.0)),
    may("user", &Text),
    may("verbosity", &Word(&["low", "medium", "high"])),
    may("web_search_options", &Map),
]);

static MESSAGE: Shape = Tagged(
    "role",
    &[
        ("developer", SYSTEM),
        ("system", SYSTEM),
        ("user", &[must("content", &Either(&[&Text, &List(&PART, MANY)])), may("name", &Text)]),
        (
            "assistant",
            &[
                may("content", &Either(&[&Text, &List(&SPOKEN, MANY)])),
                may("refusal", &Text),
                may("name", &Text),
                may("audio", &Map),
                may("tool_calls", &List(&CALL, 128)),
                may("function_call", &Map),
                // Answers have it, and clients give answers back as they came.
                may("annotations", &Any),
                // Not OpenAI's own: see `check`.
                may("reasoning_content", &Text),
            ],
        ),
        ("tool", &[must("content", &TEXTS), must("tool_call_id", &Text)]),
        ("function", &[must("content", &Text), must("name", &Text)]),
    ],
);

const SYSTEM: &[Field] = &[must("content", &TEXTS), may("name", &Text)];

static TEXTS: Shape = Either(&[&Text, &List(&WRITTEN, MANY)]);

const WORDS: &[Field] = &[must("text", &Text), may("prompt_cache_breakpoint", &Map)];

static WRITTEN: Shape = Tagged("type", &[("text", WORDS)]);

static SPOKEN: Shape = Tagged("type", &[("text", WORDS), ("refusal", &[must("refusal", &Text)])]);

static PART: Shape = Tagged(
    "type",
    &[
        ("text", WORDS),
        (
            "image_url",
            &[
                must(
                    "image_url",
                    &Object(&[
                        must("url", &Text),
                        may("detail", &Word(&["auto", "low", "high", "original"])),
                    ]),
                ),
                may("prompt_cache_breakpoint", &Map),
            ],
        ),
        (
            "input_audio",
            &[
                must(
                    "input_audio",
                    &Object(&[must("data", &Text), must("format", &Word(&["wav", "mp3"]))]),
                ),
                may("prompt_cache_breakpoint", &Map),
            ],
        ),
        (
            "file",
            &[
                must(
                    "file",
                    &Object(&[
                        may("file_data", &Text),
                        may("file_id", &Text),
                        may("filename", &Text),
                    ]),
                ),
                may("prompt_cache_breakpoint", &Map),
            ],
        ),
    ],
);

static CALL: Shape = Tagged(
    "type",
    &[
        (
            "function",
            &[
                must("id", &Text),
                must("function", &Object(&[must("name", &Text), must("arguments", &Text)])),
            ],
        ),
        (
            "custom",
            &[
                must("id", &Text),
                must("custom", &Object(&[must("name", &Text), must("input", &Text)])),
            ],
        ),
    ],
);

static FUNCTION: Shape = Object(&[
    must("name", &Text),
    may("description", &Text),
    may("parameters", &Map),
    may("strict", &Bool),
]);

static TOOL: Shape = Tagged(
    "type",
    &[
        ("function", &[must("function", &FUNCTION)]),
        (
            "custom",
            &[must(
                "custom",
                &Object(&[must("name", &Text), may("description", &Text), may("format", &Map)]),
            )],
        ),
    ],
);

static CHOICE: Shape = Tagged(
    "type",
    &[
        ("function", &[must("function", &Object(&[must("name", &Text)]))]),
        ("custom", &[must("custom", &Object(&[must("name", &Text)]))]),
        (
            "allowed_tools",
            &[must(
                "allowed_tools",
                &Object(&[
                    must("mode", &Word(&["auto", "required"])),
                    must("tools", &List(&Map, 128)),
                ]),
            )],
        ),
    ],
);

static FORMAT: Shape = Tagged(
    "type",
    &[
        ("text", &[]),
        ("json_object", &[]),
        (
            "json_schema",
            &[must(
                "json_schema",
                &Object(&[
                    must("name", &Text),
                    may("description", &Text),
                    may("schema", &Map),
                    may("strict", &Bool),
                ]),
            )],
        ),
    ],
);
