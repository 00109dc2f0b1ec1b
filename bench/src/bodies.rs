//! The requests that clients send, and how they tell the mock what to answer.
//!
//! A gateway passes the prompt on whatever else it does, so the prompt itself says how many tokens
//! the answer has and how far apart they are: `tok=100 gap=10000` (in microseconds). `model` and
//! `stream` stand last, as the Python SDK writes them.

/// The client API of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Api {
    /// OpenAI's.
    Chat,
    /// Anthropic's.
    Messages,
}

impl Api {
    /// Where it is called.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
        }
    }
}

/// How an answer is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How many tokens it has.
    pub(crate) tokens: usize,
    /// Microseconds before each.
    pub(crate) gap: u64,
}

impl Pace {
    /// Reads what a prompt asks for.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let from = memchr::memmem::find(body, b"tok=")?;
        let text = body.get(from + 4..)?;
        let (tokens, text) = number(text)?;
        let (gap, _) = number(text.strip_prefix(b" gap=")?)?;
        Some(Self { tokens: usize::try_from(tokens).ok()?, gap })
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(end)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// A whole request, head and body, with a body of about `size` bytes.
pub(crate) fn request(api: Api, model: &str, size: usize, stream: Option<Pace>) -> Vec<u8> {
    let order =
        stream.map_or_else(String::new, |Pace { tokens, gap }| format!("tok={tokens} gap={gap} "));
    let stream = if stream.is_some() { ",\"stream\":true" } else { "" };
    // Text as it is in prompts: a few quotes and line ends, which are escapes in JSON.
    let text = "The quick brown fox said \\\"jumps over\\\" to the lazy dog.\\n";
    let prompt = text.repeat((size.saturating_sub(200) / text.len()).max(1));
    let body = format!(
        "{{\"messages\":[{{\"role\":\"system\",\"content\":\"You are helpful.\"}},\
         {{\"role\":\"user\",\"content\":\"{order}{prompt}\"}}],\
         \"max_tokens\":512,\"model\":\"{model}\"{stream}}}"
    );
    let body = match api {
        Api::Chat => body,
        // Anthropic has no system role among its messages.
        Api::Messages => {
            body.replace("{\"role\":\"system\",\"content\":\"You are helpful.\"},", "")
        }
    };
    let version = match api {
        Api::Chat => "",
        Api::Messages => "anthropic-version: 2023-06-01\r\nx-api-key: sk-bench\r\n",
    };
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\
         content-type: application/json\r\nuser-agent: bench\r\n\
         authorization: Bearer sk-bench\r\n{version}content-length: {}\r\n\r\n",
        api.path(),
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_large_as_asked_and_says_its_pace() {
        let pace = Pace { tokens: 100, gap: 10_000 };
        for api in [Api::Chat, Api::Messages] {
            let whole = request(api, "m", 131_072, Some(pace));
            let body = &whole[crate::wire::head_end(&whole).unwrap()..];
            assert!((130_000..132_000).contains(&body.len()), "{}", body.len());
            assert_eq!(Pace::read(body), Some(pace));
            let parsed: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(parsed["stream"], true);
        }
    }

    #[test]
    fn a_body_without_a_pace_has_none() {
        assert_eq!(Pace::read(&request(Api::Chat, "m", 1024, None)), None);
    }
}
