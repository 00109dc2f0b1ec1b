//! What a client of this dialect calls the fields that encoders name in OpenAI's terms.
//!
//! An encoder does not know who asks; but a client that is told that `response_format` was lost, and
//! has written `output_config.format`, looks for a field that it never sent.

/// The name of a field, or of a place in one, in this dialect.
pub fn own_name(field: &str) -> String {
    let own = match field {
        "parallel_tool_calls" => "tool_choice.disable_parallel_tool_use",
        "reasoning_content" | "reasoning_effort" => "thinking",
        "response_format" => "output_config.format",
        "stop" => "stop_sequences",
        "tool_calls[].function.arguments" => "tool_use.input",
        "user" => "metadata.user_id",
        _ if field.starts_with("tools[") => {
            return field.replace(".function", "").replace(".parameters", ".input_schema");
        }
        _ => field,
    };
    own.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_that_the_client_wrote() {
        for (common, own) in [
            ("response_format", "output_config.format"),
            ("tools[3].function.name", "tools[3].name"),
            ("tools[].function.parameters", "tools[].input_schema"),
            ("temperature", "temperature"),
        ] {
            assert_eq!(own_name(common), own);
        }
    }
}
