//! What Anthropic's messages take, field by field. Tools that Anthropic runs itself are not played.
//!
//! Source: the types of Anthropic's SDK, November 2026, and the older version's sampling parameters.

use crate::sim::shape::{
    Field,
    Shape::{self, Any, Bool, Either, List, Map, Number, Object, Tagged, Text, Whole, Word},
    may, must, null,
};

const MANY: usize = 100_000;

pub(super) static REQUEST: Shape = Object(&[
    must("model", &Text),
    must("max_tokens", &Whole(0, i64::MAX)),
    must("messages", &List(&MESSAGE, MANY)),
    null("cache_control", &CACHE),
    null("container", &Text),
    null("diagnostics", &Map),
    null("inference_geo", &Text),
    may("metadata", &Object(&[null("user_id", &Text)])),
    may(
        "output_config",
        &Object(&[
            null("effort", &Word(&["low", "medium", "high", "xhigh", "max"])),
            null("format", &Tagged("type", &[("json_schema", &[must("schema", &Map)])])),
        ]),
    ),
    may("service_tier", &Word(&["auto", "standard_only"])),
    null("speed", &Word(&["standard", "fast"])),
    may("stop_sequences", &List(&Text, MANY)),
    may("stream", &Bool),
    may("system", &Either(&[&Text, &List(&Tagged("type", &[("text", TEXT)]), MANY)])),
    may("temperature", &Number(0.0, 1.0)),
    may(
        "thinking",
        &Tagged(
            "type",
            &[
                ("adaptive", &[null("display", DISPLAY)]),
                ("between_tools", &[]),
                ("disabled", &[]),
                (
                    "enabled",
                    &[must("budget_tokens", &Whole(1024, i64::MAX)), null("display", DISPLAY)],
                ),
            ],
        ),
    ),
    may("tool_choice", &CHOICE),
    may("tools", &List(&TOOL, MANY)),
    may("top_k", &Whole(0, i64::MAX)),
    may("top_p", &Number(0.0, 1.0)),
]);

static CACHE: Shape = Tagged("type", &[("ephemeral", &[may("ttl", &Word(&["5m", "1h"]))])]);

const DISPLAY: &Shape = &Word(&["summarized", "omitted"]);

static CHOICE: Shape = Tagged(
    "type",
    &[
        ("auto", &[may("disable_parallel_tool_use", &Bool)]),
        ("any", &[may("disable_parallel_tool_use", &Bool)]),
        ("tool", &[must("name", &Text), may("disable_parallel_tool_use", &Bool)]),
        ("none", &[]),
    ],
);

static TOOL: Shape = Object(&[
    must("name", &Text),
    must("input_schema", &Map),
    may("allowed_callers", &List(&Text, MANY)),
    null("cache_control", &CACHE),
    may("defer_loading", &Bool),
    may("description", &Text),
    null("eager_input_streaming", &Bool),
    may("input_examples", &List(&Map, MANY)),
    may("strict", &Bool),
    null("type", &Word(&["custom"])),
]);

static MESSAGE: Shape = Object(&[
    must("role", &Word(&["user", "assistant", "system"])),
    must("content", &Either(&[&Text, &List(&BLOCK, MANY)])),
]);

const TEXT: &[Field] =
    &[must("text", &Text), null("cache_control", &CACHE), null("citations", &Any)];

const IMAGE: &[Field] = &[
    must(
        "source",
        &Tagged(
            "type",
            &[
                (
                    "base64",
                    &[
                        must(
                            "media_type",
                            &Word(&["image/jpeg", "image/png", "image/gif", "image/webp"]),
                        ),
                        must("data", &Text),
                    ],
                ),
                ("url", &[must("url", &Text)]),
                ("file", &[must("file_id", &Text)]),
            ],
        ),
    ),
    null("cache_control", &CACHE),
    null("transformations", &Map),
];

const DOCUMENT: &[Field] = &[
    must(
        "source",
        &Tagged(
            "type",
            &[
                ("base64", &[must("media_type", &Word(&["application/pdf"])), must("data", &Text)]),
                ("text", &[must("media_type", &Word(&["text/plain"])), must("data", &Text)]),
                ("content", &[must("content", &Any)]),
                ("url", &[must("url", &Text)]),
                ("file", &[must("file_id", &Text)]),
            ],
        ),
    ),
    null("cache_control", &CACHE),
    null("citations", &Map),
    null("context", &Text),
    null("title", &Text),
];

const SEARCH_RESULT: &[Field] = &[
    must("content", &List(&Tagged("type", &[("text", TEXT)]), MANY)),
    must("source", &Text),
    must("title", &Text),
    null("cache_control", &CACHE),
    may("citations", &Map),
];

static RESULT: Shape = Tagged(
    "type",
    &[("text", TEXT), ("image", IMAGE), ("document", DOCUMENT), ("search_result", SEARCH_RESULT)],
);

static BLOCK: Shape = Tagged(
    "type",
    &[
        ("text", TEXT),
        ("image", IMAGE),
        ("document", DOCUMENT),
        ("search_result", SEARCH_RESULT),
        ("thinking", &[must("thinking", &Text), must("signature", &Text)]),
        ("redacted_thinking", &[must("data", &Text)]),
        (
            "tool_use",
            &[
                must("id", &Text),
                must("name", &Text),
                must("input", &Map),
                null("cache_control", &CACHE),
                may("caller", &Map),
                null("toolset_name", &Text),
            ],
        ),
        (
            "tool_result",
            &[
                must("tool_use_id", &Text),
                may("content", &Either(&[&Text, &List(&RESULT, MANY)])),
                may("is_error", &Bool),
                null("cache_control", &CACHE),
            ],
        ),
    ],
);
