//! Where a key may be sent: the base URL of a credential, read and judged.
//!
//! The URL is read by hand and strictly. A general URL parser forgives (escapes, user names, odd
//! numbers), and everything that two parsers read differently is a way to send a key to a host that
//! this one did not see. Addresses are judged here when they stand in the URL; those that a name
//! resolves to are judged by the same function when they are connected to.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    Options,
    report::{Problem, Reason},
};
use crate::{
    provider::{PROVIDERS, Provider},
    table::address::is_public,
};

/// The field that this file speaks of.
pub(super) const FIELD: &str = "spec.endpoint.baseURL";

/// The parts of a base URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BaseUrl<'a> {
    pub(super) tls: bool,
    /// Lower case, no brackets, no final dot.
    pub(super) host: String,
    pub(super) port: u16,
    /// Without a final slash; often empty.
    pub(super) path: &'a str,
}

/// Reads the base URL of a credential and judges whether a key of `provider` may go there.
pub(super) fn judge<'a>(
    url: &'a str,
    provider: &Provider,
    options: Options,
) -> Result<BaseUrl<'a>, Problem> {
    // Not repeated in the message: what does not parse may hold a password.
    let Some(base) = parse(url) else {
        return Err(Problem::invalid(
            FIELD,
            "must be https://host[:port][/path] without user, query, fragment, `%` or `..`, and an \
             address in its usual form",
        ));
    };
    let host = &base.host;
    let refused = |message: String| Err(Problem::at(Reason::EndpointNotAllowed, FIELD, message));
    if !provider.owns(host) {
        let name = provider.name;
        return refused(format!(
            "`{host}` is not {name}'s own host, and a key of {name} goes nowhere else; for a server \
             of your own use `provider: {}`",
            compatible(provider)
        ));
    }
    if !base.tls && !provider.hosts.is_empty() {
        return refused(format!("a key of {} is never sent unencrypted; use https", provider.name));
    }
    if options.allow_private_endpoints {
        return Ok(base);
    }
    if !base.tls {
        return refused(
            "plain http would show the key to everybody on the way; use https, or start the process \
             with --allow-private-endpoints"
                .to_owned(),
        );
    }
    if is_private(host) {
        return refused(format!(
            "`{host}` is not on the public internet; start the process with \
             --allow-private-endpoints to allow it"
        ));
    }
    Ok(base)
}

/// The row for servers of one's own that speak this provider's API.
fn compatible(provider: &Provider) -> &'static str {
    let own = |row: &&Provider| row.dialect == provider.dialect && row.hosts.is_empty();
    PROVIDERS.iter().find(own).map_or("", |row| row.name)
}

/// Whether a host is certainly not public. Other names are judged by what they resolve to.
fn is_private(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => !is_public(address),
        Err(_name) => ["localhost", "internal", "local"].iter().any(|top| {
            host.strip_suffix(top).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
        }),
    }
}

/// The rule of `api::bounds::base_url`, and no unusual way to write an address.
fn parse(url: &str) -> Option<BaseUrl<'_>> {
    let (tls, rest) = match url.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
    let (host, port) = if let Some(literal) = authority.strip_prefix('[') {
        let (address, port) = literal.split_once(']')?;
        (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (name, port) = authority.split_at_checked(end)?;
        (host_of(name)?, port)
    };
    let usual = if tls { 443 } else { 80 };
    let port = match port.strip_prefix(':') {
        Some(digits) => port_of(digits)?,
        None if port.is_empty() => usual,
        None => return None,
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"._~:@-".contains(&c);
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(inside);
    let sound = path.split('/').skip(1).all(segment) && url.len() <= 512;
    sound.then_some(BaseUrl { tls, host, port, path })
}

fn port_of(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|c| c.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// A name, or four decimal numbers. `127.1`, `0x7f.1` and `2130706433` are names to this parser and
/// addresses to others, so they are neither.
fn host_of(text: &str) -> Option<String> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"_-".contains(&c);
    let named = host.split('.').all(|part| !part.is_empty() && part.bytes().all(inside));
    let last = host.rsplit('.').next()?;
    let numeric = last.bytes().all(|c| c.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()));
    let address = host.parse::<std::net::Ipv4Addr>().is_ok();
    (named && (!numeric || address)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::find;

    const OPEN: Options = Options { allow_private_endpoints: true };
    const CLOSED: Options = Options { allow_private_endpoints: false };

    fn reason(url: &str, provider: &str, options: Options) -> Option<Reason> {
        judge(url, find(provider)?, options).err().map(|problem| problem.reason)
    }

    #[test]
    fn a_base_url_is_taken_apart() {
        let base = parse("https://Gateway.Example.com.:8443/openai/v1/").unwrap();
        let expected = BaseUrl {
            tls: true,
            host: "gateway.example.com".into(),
            port: 8443,
            path: "/openai/v1",
        };
        assert_eq!(base, expected);
        assert_eq!(parse("http://[::1]").unwrap().host, "::1");
        assert_eq!(parse("http://127.0.0.1:9101/v1").unwrap().port, 9101);
        assert_eq!(parse("https://example.com/").unwrap().path, "");
    }

    #[test]
    fn nothing_is_read_that_another_parser_could_read_differently() {
        for url in [
            "",
            "example.com",
            "//example.com",
            "ftp://example.com",
            "HTTPS://example.com",
            "https:/example.com",
            "https://",
            "https://:443",
            "https://user@example.com",
            "https://user:pass@example.com",
            "https://api.openai.com@evil.dev",
            "https://evil.dev\\@api.openai.com",
            "https://example.com?x=1",
            "https://example.com#x",
            "https://example.com/%2e%2e",
            "https://example.com/a/../b",
            "https://example.com/./b",
            "https://example.com//b",
            "https://example.com/a b",
            "https://example.com:0",
            "https://example.com:080",
            "https://example.com:65536",
            "https://example.com:+80",
            "https://example.com:",
            "https://a..b",
            "https://.example.com",
            "https://ex\u{e4}mple.com",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://0x7f.0.0.1",
            "https://0177.0.0.1",
            "https://127.0.0.0x1",
            "https://256.256.256.256",
            "https://[::1",
            "https://[fe80::1%25eth0]",
            "https://[127.0.0.1]",
            "https://[::1]x",
            "https://example.com\r\nhost: evil.dev",
        ] {
            assert_eq!(reason(url, "OpenAICompatible", OPEN), Some(Reason::Invalid), "{url}");
        }
    }

    #[test]
    fn private_addresses_need_the_flag() {
        for url in [
            "http://example.com",
            "https://localhost",
            "https://api.localhost.",
            "https://metadata.google.internal",
            "https://printer.local",
            "https://127.0.0.1",
            "https://10.1.2.3/v1",
            "https://172.16.0.1",
            "https://192.168.0.1",
            "https://169.254.169.254",
            "https://100.64.0.1",
            "https://0.0.0.0",
            "https://[::1]",
            "https://[::]",
            "https://[::ffff:127.0.0.1]",
            "https://[::ffff:169.254.169.254]",
            "https://[64:ff9b::a9fe:a9fe]",
            "https://[fd00::1]",
            "https://[fe80::1]",
        ] {
            let closed = reason(url, "OpenAICompatible", CLOSED);
            assert_eq!(closed, Some(Reason::EndpointNotAllowed), "{url}");
            assert_eq!(reason(url, "OpenAICompatible", OPEN), None, "{url}");
        }
        assert_eq!(reason("https://gateway.example.com/v1", "OpenAICompatible", CLOSED), None);
        assert_eq!(reason("https://1.1.1.1", "OpenAICompatible", CLOSED), None);
    }

    #[test]
    fn a_providers_key_stays_with_its_hosts_whatever_the_flag_says() {
        for url in [
            "https://evil.dev/v1",
            "https://api.openai.com.evil.dev",
            "https://openai.com",
            "https://127.0.0.1",
            "http://api.openai.com/v1",
        ] {
            assert_eq!(reason(url, "OpenAI", OPEN), Some(Reason::EndpointNotAllowed), "{url}");
        }
        assert_eq!(reason("https://API.OpenAI.com./v1", "OpenAI", CLOSED), None);
    }
}
