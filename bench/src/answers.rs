//! What the mock says, in each provider's own words. Pure: the time of a token is an argument.

use std::fmt::Write;

/// A provider's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Anthropic's messages.
    Anthropic,
    /// OpenAI's chat completions.
    OpenAi,
}

impl Dialect {
    /// The API that a path belongs to.
    pub(crate) fn of(path: &str) -> Option<Self> {
        if path.ends_with("/chat/completions") {
            Some(Self::OpenAi)
        } else if path.ends_with("/v1/messages") {
            Some(Self::Anthropic)
        } else {
            None
        }
    }
}

/// A whole answer of about 900 bytes.
pub(crate) fn whole(dialect: Dialect) -> String {
    let text = "Lorem ipsum dolor sit amet, consectetur adipiscing elit. ".repeat(9);
    match dialect {
        Dialect::OpenAi => format!(
            "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"mock\",\
             \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\",\
             \"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
             \"usage\":{{\"prompt_tokens\":200,\"completion_tokens\":120,\"total_tokens\":320,\
             \"prompt_tokens_details\":{{\"cached_tokens\":0}}}}}}"
        ),
        Dialect::Anthropic => format!(
            "{{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"mock\",\
             \"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\"stop_reason\":\"end_turn\",\
             \"stop_sequence\":null,\"usage\":{{\"input_tokens\":200,\"output_tokens\":120}}}}"
        ),
    }
}

/// The events before the first token.
pub(crate) fn opening(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => {
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
             \"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\
             \"content\":\"\"},\"finish_reason\":null}]}\n\n"
        }
        Dialect::Anthropic => {
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\
             \"type\":\"message\",\"role\":\"assistant\",\"model\":\"mock\",\"content\":[],\
             \"stop_reason\":null,\"stop_sequence\":null,\
             \"usage\":{\"input_tokens\":200,\"output_tokens\":1}}}\n\n\
             event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
             \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
        }
    }
}

/// One token, sent at `now`.
pub(crate) fn token(dialect: Dialect, now: u64, out: &mut String) {
    let mark = char::from(crate::clock::MARK);
    // Writing to a string cannot fail.
    let _written = match dialect {
        Dialect::OpenAi => write!(
            out,
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
             \"model\":\"mock\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" {mark}{now}\"}},\
             \"finish_reason\":null}}]}}\n\n"
        ),
        Dialect::Anthropic => write!(
            out,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\" {mark}{now}\"}}}}\n\n"
        ),
    };
}

/// The events after the last token.
pub(crate) fn closing(dialect: Dialect, tokens: usize, wants_usage: bool) -> String {
    match dialect {
        Dialect::OpenAi => {
            let usage = format!(
                "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
                 \"model\":\"mock\",\"choices\":[],\"usage\":{{\"prompt_tokens\":200,\
                 \"completion_tokens\":{tokens},\"total_tokens\":{}}}}}\n\n",
                200 + tokens
            );
            format!(
                "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
                 \"model\":\"mock\",\"choices\":[{{\"index\":0,\"delta\":{{}},\
                 \"finish_reason\":\"stop\"}}]}}\n\n{}data: [DONE]\n\n",
                if wants_usage { usage.as_str() } else { "" }
            )
        }
        Dialect::Anthropic => format!(
            "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n\
             event: message_delta\ndata: {{\"type\":\"message_delta\",\
             \"delta\":{{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}},\
             \"usage\":{{\"output_tokens\":{tokens}}}}}\n\n\
             event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_holds_one_json_object() {
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let mut stream = opening(dialect).to_owned();
            token(dialect, 7, &mut stream);
            stream.push_str(&closing(dialect, 1, true));
            for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
                let parsed = serde_json::from_str::<serde_json::Value>(data);
                assert!(data == "[DONE]" || parsed.is_ok(), "{data}");
            }
            let whole = whole(dialect);
            assert!(serde_json::from_str::<serde_json::Value>(&whole).is_ok(), "{whole}");
            assert!((700..1000).contains(&whole.len()), "{}", whole.len());
        }
    }
}
