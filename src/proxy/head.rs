//! What a request's head may not say, beyond what hyper refuses by itself.
//!
//! hyper refuses differing and malformed lengths, a transfer coding that does not end in `chunked`
//! or comes with HTTP/1.0, folded lines, control characters, and heads that are too large. A length
//! beside a transfer coding it drops, and closes the connection after the answer (RFC 9112, 6.3), so
//! that no second request can hide behind the first. The rest is here.

use http::{HeaderMap, Method, Version, header, request::Parts};

/// The most headers of a request.
pub const MOST_HEADERS: usize = 100;

/// Headers that decide who calls and how much. Servers of the CGI kind take `x_api_key` for
/// `x-api-key`, so neither a client nor a proxy before us may send them with an underscore.
const GUARDED: [&str; 9] = [
    "anthropic-version",
    "content-length",
    "proxy-authorization",
    "transfer-encoding",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-goog-api-key",
];

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// More than one host, or none where HTTP/1.1 demands one.
    #[error("the request must name exactly one host")]
    Host,
    /// `CONNECT`: this is no forward proxy.
    #[error("CONNECT is not served here")]
    Method,
    /// More headers than [`MOST_HEADERS`].
    #[error("the request has too many headers")]
    TooMany,
    /// Anything but a single `chunked`.
    #[error("the request's transfer coding is not understood")]
    TransferEncoding,
    /// A guarded header in disguise.
    #[error("the request has a header with '_' that is reserved with '-'")]
    Underscore,
}

/// Checks a request's head.
///
/// # Errors
/// When the request must be refused: with 400, or 431 for [`BadHead::TooMany`], and always with
/// `connection: close`, because whoever reads the head otherwise sees another request behind it.
pub fn check(head: &Parts) -> Result<(), BadHead> {
    let headers = &head.headers;
    if head.method == Method::CONNECT {
        return Err(BadHead::Method);
    }
    if headers.len() > MOST_HEADERS {
        return Err(BadHead::TooMany);
    }
    if headers.keys().any(|name| is_disguised(name.as_str())) {
        return Err(BadHead::Underscore);
    }
    check_host(head)?;
    check_coding(headers)
}

fn check_host(head: &Parts) -> Result<(), BadHead> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        // HTTP/2 has `:authority`, and HTTP/1.0 nothing.
        (None, _) if head.version != Version::HTTP_11 => Ok(()),
        (None | Some(_), _) => Err(BadHead::Host),
    }
}

fn check_coding(headers: &HeaderMap) -> Result<(), BadHead> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(BadHead::TransferEncoding),
    }
}

fn is_disguised(name: &str) -> bool {
    let same = |guarded: &str| {
        guarded.len() == name.len()
            && guarded.bytes().zip(name.bytes()).all(|(a, b)| a == b || (a == b'-' && b == b'_'))
    };
    name.contains('_') && GUARDED.iter().any(|guarded| same(guarded))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    fn check_of(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Option<BadHead> {
        let request = build(Request::post("/v1/messages").header("host", "a"));
        check(&request.body(()).unwrap().into_parts().0).err()
    }

    #[test]
    fn an_ordinary_head_passes() {
        assert_eq!(check_of(|head| head.header("transfer-encoding", "Chunked")), None);
        assert_eq!(check_of(|head| head.header("x-api-key", "k").header("my_own", "v")), None);
    }

    #[test]
    fn headers_in_disguise_are_refused() {
        for name in ["x_api_key", "x-api_key", "x_goog_api_key", "content_length"] {
            assert_eq!(
                check_of(|head| head.header(name, "k")),
                Some(BadHead::Underscore),
                "{name}"
            );
        }
    }

    #[test]
    fn codings_other_than_chunked_are_refused() {
        for coding in ["gzip, chunked", "chunked, chunked", "identity"] {
            let checked = check_of(|head| head.header("transfer-encoding", coding));
            assert_eq!(checked, Some(BadHead::TransferEncoding), "{coding}");
        }
    }

    #[test]
    fn one_host_is_named() {
        assert_eq!(check_of(|head| head.header("host", "b")), Some(BadHead::Host));
        let none = Request::post("/").body(()).unwrap().into_parts().0;
        assert_eq!(check(&none), Err(BadHead::Host));
        let http2 = Request::post("/").version(Version::HTTP_2).body(()).unwrap().into_parts().0;
        assert_eq!(check(&http2), Ok(()));
    }

    #[test]
    fn heads_have_a_hundred_headers_at_most() {
        let many = |n: usize| {
            check_of(|head| {
                (1..n).fold(head, |head, at| {
                    head.header(HeaderName::try_from(format!("h-{at}")).unwrap(), "v")
                })
            })
        };
        assert_eq!(many(MOST_HEADERS), None);
        assert_eq!(many(MOST_HEADERS + 1), Some(BadHead::TooMany));
    }

    #[test]
    fn connect_is_refused() {
        assert_eq!(check_of(|head| head.method(Method::CONNECT)), Some(BadHead::Method));
    }
}
