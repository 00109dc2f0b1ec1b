//! Providers: one row each. What the wire formats leave open, a row says as data.
//!
//! A provider that speaks a known dialect is one row here and one fixture folder, and no match arm
//! anywhere. The hosts of a row are the only ones that a key of that provider is ever sent to.

mod capability;
pub mod catalogue;
pub mod models;
mod money;
mod pricing;
mod schedule;

pub use self::{
    capability::{Ability, Capabilities, Capability},
    money::{NanoDollars, Price},
    pricing::{Above, Cost, Pricing, Rate, Rates},
    schedule::{LIST, Schedule, Tier},
};
use crate::dialect::Dialect;

/// One company or server software.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// The value of `spec.provider`.
    pub name: &'static str,
    /// The wire format.
    pub dialect: Dialect,
    /// What the provider's own SDK calls its base URL; `None` where the resource must say.
    pub base_url: Option<&'static str>,
    /// Hosts that a key may be sent to: exact names, or `.suffix`. Empty means the resource's own
    /// `endpoint.baseURL` decides (the `…Compatible` rows).
    pub hosts: &'static [&'static str],
    /// How a key is shown.
    pub auth: Auth,
    /// Headers that every request carries, unless the client's own request does.
    pub headers: &'static [(&'static str, &'static str)],
    /// Response headers that tell of the rate limit, for clients of the same dialect.
    pub limit_headers: &'static str,
    /// Whether a stream must be asked for its usage (`stream_options.include_usage`).
    pub ask_usage: bool,
    /// Whether it refuses fields of messages that its own API does not have: what other providers'
    /// answers left in a conversation is then taken out.
    pub own_fields_only: bool,
    /// Whether it fetches pictures and documents from public https URLs. Asked for Gemini's dialect
    /// alone: the others promise it.
    pub fetches_urls: bool,
}

/// How a key is shown to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The header's name, lower case.
    pub header: &'static str,
    /// What stands before the key.
    pub prefix: &'static str,
}

const BEARER: Auth = Auth { header: "authorization", prefix: "Bearer " };
const X_API_KEY: Auth = Auth { header: "x-api-key", prefix: "" };
const X_GOOG_API_KEY: Auth = Auth { header: "x-goog-api-key", prefix: "" };

/// The version of Anthropic's API that our codec writes.
const ANTHROPIC_HEADERS: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];

/// Every provider, by name.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        name: "Anthropic",
        dialect: Dialect::AnthropicMessages,
        base_url: Some("https://api.anthropic.com"),
        hosts: &["api.anthropic.com"],
        auth: X_API_KEY,
        headers: ANTHROPIC_HEADERS,
        limit_headers: "anthropic-ratelimit-",
        ask_usage: false,
        own_fields_only: true,
        fetches_urls: true,
    },
    Provider {
        name: "AnthropicCompatible",
        dialect: Dialect::AnthropicMessages,
        base_url: None,
        hosts: &[],
        auth: X_API_KEY,
        headers: ANTHROPIC_HEADERS,
        limit_headers: "anthropic-ratelimit-",
        ask_usage: false,
        own_fields_only: true,
        fetches_urls: true,
    },
    Provider {
        name: "Gemini",
        dialect: Dialect::Gemini,
        base_url: Some("https://generativelanguage.googleapis.com"),
        hosts: &["generativelanguage.googleapis.com"],
        auth: X_GOOG_API_KEY,
        headers: &[],
        limit_headers: "",
        ask_usage: false,
        own_fields_only: false,
        fetches_urls: true,
    },
    Provider {
        name: "GeminiCompatible",
        dialect: Dialect::Gemini,
        base_url: None,
        hosts: &[],
        auth: X_GOOG_API_KEY,
        headers: &[],
        limit_headers: "",
        ask_usage: false,
        own_fields_only: false,
        fetches_urls: false,
    },
    Provider {
        name: "OpenAI",
        dialect: Dialect::OpenAiChat,
        base_url: Some("https://api.openai.com/v1"),
        hosts: &["api.openai.com"],
        auth: BEARER,
        headers: &[],
        limit_headers: "x-ratelimit-",
        ask_usage: true,
        own_fields_only: true,
        fetches_urls: true,
    },
    Provider {
        name: "OpenAICompatible",
        dialect: Dialect::OpenAiChat,
        base_url: None,
        hosts: &[],
        auth: BEARER,
        headers: &[],
        limit_headers: "x-ratelimit-",
        ask_usage: true,
        own_fields_only: false,
        fetches_urls: true,
    },
];

/// The row of a provider.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|row| row.name == name)
}

impl Provider {
    /// Whether a key of this provider may be sent to `host` (lower case).
    pub fn owns(&self, host: &str) -> bool {
        self.hosts.is_empty()
            || self.hosts.iter().any(|own| match own.strip_prefix('.') {
                Some(suffix) => host.strip_suffix(suffix).is_some_and(|sub| sub.ends_with('.')),
                None => host == *own,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_name_and_unique() {
        assert!(PROVIDERS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn a_key_belongs_to_the_providers_own_hosts_only() {
        let openai = find("OpenAI").unwrap();
        assert!(openai.owns("api.openai.com"));
        for foreign in ["openai.com", "api.openai.com.evil.dev", "xapi.openai.com", "evil.dev"] {
            assert!(!openai.owns(foreign), "{foreign}");
        }
    }
}
