//! What a model takes and refuses, as far as writing its requests is concerned.
//!
//! Two models of one provider differ as much as two dialects: newer ones refuse `temperature`, older
//! ones have no JSON schema. The differences are data (rows in `provider::models`); this file says
//! only which differences exist. An encoder asks these fields and never a model's name.

use serde::{Deserialize, Serialize};

/// One model's ways. `Default` is the newest common ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traits {
    /// Takes temperature, `top_p` and `top_k`.
    pub sampling: bool,
    /// Takes a tool choice that forces a call.
    pub forced_tool_choice: bool,
    /// Takes system messages in the middle of a conversation.
    pub mid_system: bool,
    /// Goes on with a conversation that ends in its own words.
    pub prefill: bool,
    /// Takes texts that end its answer.
    pub stop_texts: bool,
    /// Enforces a JSON schema natively; otherwise the schema is emulated through a forced tool.
    pub json_schema: bool,
    /// Takes the form of its answer beside tools (Gemini 3 and later).
    pub json_beside_tools: bool,
    /// How its thinking is controlled.
    pub thinking: Thinking,
    /// Takes `max_completion_tokens` and refuses `max_tokens` (OpenAI's reasoning models).
    pub max_completion_tokens: bool,
    /// Prefers the `developer` role over `system` (OpenAI's reasoning models).
    pub developer_role: bool,
    /// Refuses replayed function calls without a thought signature (Gemini 3 and later).
    pub thought_signatures: bool,
    /// Takes `parametersJsonSchema` and `responseJsonSchema` rather than the `OpenAPI` subset (Gemini).
    pub full_json_schema: bool,
    /// The most tokens it may write; sent where the dialect demands a limit and the client gave none,
    /// and what a larger limit is lowered to. `u64::MAX` where nobody knows.
    pub max_output_tokens: u64,
}

/// How a model's thinking is controlled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Thinking {
    /// By an effort, and it cannot be turned off.
    Always,
    /// By a budget of tokens; 0 or absent turns it off.
    Budget,
    /// By an effort (Anthropic's `adaptive`, Gemini's level, OpenAI's `reasoning_effort`).
    Effort,
    /// It has none.
    None,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            sampling: true,
            forced_tool_choice: true,
            mid_system: false,
            prefill: true,
            stop_texts: true,
            json_schema: true,
            json_beside_tools: true,
            thinking: Thinking::Effort,
            max_completion_tokens: false,
            developer_role: false,
            thought_signatures: false,
            full_json_schema: true,
            max_output_tokens: 8192,
        }
    }
}
