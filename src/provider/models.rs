//! What each model takes and refuses, by the beginning of its name.
//!
//! Rows are tried in order, the first whose prefix fits decides; names are compared in lower case
//! and after the last `/`, because gateways and clouds put their own words in front. A model without
//! a row has its dialect's first row: for Anthropic and Gemini the newest ways, for OpenAI's dialect
//! the oldest, because most servers that speak it are not OpenAI's.
//!
//! Sources: the providers' SDK types and deprecation texts, and the public model catalogues of
//! November 2026.

use crate::dialect::{Dialect, Traits, traits::Thinking};

/// The ways of most servers that speak OpenAI's dialect.
const COMPATIBLE: Traits = Traits {
    sampling: true,
    forced_tool_choice: true,
    mid_system: true,
    prefill: true,
    stop_texts: true,
    json_schema: true,
    json_beside_tools: true,
    thinking: Thinking::Effort,
    max_completion_tokens: false,
    developer_role: false,
    thought_signatures: false,
    full_json_schema: true,
    max_output_tokens: u64::MAX,
};

/// OpenAI's reasoning models.
const REASONING: Traits = Traits {
    sampling: false,
    stop_texts: false,
    max_completion_tokens: true,
    developer_role: true,
    max_output_tokens: 100_000,
    ..COMPATIBLE
};

/// Claude 5: no sampling, no words put into its mouth, system text anywhere.
const CLAUDE: Traits =
    Traits { sampling: false, prefill: false, max_output_tokens: 64_000, ..COMPATIBLE };

/// Claude 5.5 and its like: thinking cannot be turned off, calls cannot be forced.
const CLAUDE_THINKING: Traits =
    Traits { thinking: Thinking::Always, forced_tool_choice: false, ..CLAUDE };

/// Claude 4.6 and older: sampling, thinking by a budget.
const CLAUDE_OLDER: Traits = Traits {
    sampling: true,
    prefill: true,
    mid_system: false,
    thinking: Thinking::Budget,
    max_output_tokens: 32_000,
    ..CLAUDE
};

/// Claude 3.5 and older: no thinking, no JSON schema.
const CLAUDE_OLDEST: Traits = Traits {
    thinking: Thinking::None,
    json_schema: false,
    max_output_tokens: 4096,
    ..CLAUDE_OLDER
};

/// Gemini 3 and newer.
const GEMINI: Traits =
    Traits { mid_system: false, thought_signatures: true, max_output_tokens: 65_536, ..COMPATIBLE };

/// Models of one dialect, by the beginning of their names.
type Rows = &'static [(&'static str, Traits)];

const OPENAI: Rows = &[
    ("gpt-5", Traits { max_output_tokens: 128_000, ..REASONING }),
    ("gpt-6", Traits { max_output_tokens: 128_000, ..REASONING }),
    ("o1", REASONING),
    ("o3", REASONING),
    ("o4", REASONING),
    ("gpt-4.1", Traits { thinking: Thinking::None, max_output_tokens: 32_768, ..COMPATIBLE }),
    ("gpt-4", Traits { thinking: Thinking::None, max_output_tokens: 16_384, ..COMPATIBLE }),
];

const ANTHROPIC: Rows = &[
    ("claude-sonnet-5-5", CLAUDE_THINKING),
    ("claude-opus-5-5", CLAUDE_THINKING),
    ("claude-fable-5", CLAUDE_THINKING),
    ("claude-mythos-5", CLAUDE_THINKING),
    ("claude-opus-4-7", Traits { mid_system: false, ..CLAUDE }),
    ("claude-opus-4-8", CLAUDE),
    ("claude-opus-4-5", CLAUDE_OLDER),
    ("claude-opus-4-6", Traits { prefill: false, ..CLAUDE_OLDER }),
    ("claude-sonnet-4-5", CLAUDE_OLDER),
    ("claude-sonnet-4-6", Traits { prefill: false, ..CLAUDE_OLDER }),
    ("claude-haiku-4-5", CLAUDE_OLDER),
    ("claude-opus-4", Traits { json_schema: false, ..CLAUDE_OLDER }),
    ("claude-sonnet-4", Traits { json_schema: false, ..CLAUDE_OLDER }),
    ("claude-3-7", Traits { json_schema: false, ..CLAUDE_OLDER }),
    ("claude-3", CLAUDE_OLDEST),
    ("sim-", Traits { sampling: true, ..CLAUDE }),
];

const GEMINIS: Rows = &[
    ("gemini-3.7-flash", Traits { sampling: false, ..GEMINI }),
    ("gemini-3.8-flash", Traits { sampling: false, ..GEMINI }),
    (
        "gemini-2.5",
        Traits {
            json_beside_tools: false,
            thought_signatures: false,
            thinking: Thinking::Budget,
            ..GEMINI
        },
    ),
    (
        "gemini-2",
        Traits {
            json_beside_tools: false,
            thought_signatures: false,
            thinking: Thinking::None,
            full_json_schema: false,
            max_output_tokens: 8192,
            ..GEMINI
        },
    ),
];

/// The ways of a model.
pub fn traits(dialect: Dialect, model: &str) -> Traits {
    let name = model.rsplit('/').next().unwrap_or(model).to_lowercase();
    let (rows, otherwise) = match dialect {
        Dialect::AnthropicMessages => (ANTHROPIC, CLAUDE),
        Dialect::Gemini => (GEMINIS, GEMINI),
        Dialect::OpenAiChat => (OPENAI, COMPATIBLE),
    };
    let row = rows.iter().find(|(prefix, _)| name.starts_with(prefix));
    row.map_or(otherwise, |(_, traits)| *traits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_the_ways_of_its_row_and_others_those_of_their_dialect() {
        let claude = |name| traits(Dialect::AnthropicMessages, name);
        assert!(!claude("claude-sonnet-5-5-20261001").forced_tool_choice);
        assert!(claude("anthropic/Claude-Sonnet-4-5").sampling);
        assert!(!claude("claude-3-5-haiku").json_schema);
        assert!(!claude("claude-next").sampling);
        let openai = |name| traits(Dialect::OpenAiChat, name);
        assert!(openai("gpt-5-mini").max_completion_tokens);
        assert!(!openai("llama-4").max_completion_tokens && openai("llama-4").sampling);
        assert!(!traits(Dialect::Gemini, "gemini-2.5-flash").thought_signatures);
    }
}
