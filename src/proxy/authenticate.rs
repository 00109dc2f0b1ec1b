//! Phase 1, the other half: who calls.
//!
//! A caller shows a key in the header of either SDK family, and is whoever the key belongs to. This
//! happens before a byte of the body is read. Which routes a caller may use is not decided here:
//! `table/consumer.rs` does, when the route is looked for.

use http::{HeaderMap, HeaderName, header};

use super::error;
use crate::{
    dialect::ApiError,
    table::{Caller, Consumer, ConsumerKey, Digest, Table},
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Who is served without the key of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Everybody.
    Allow,
    /// Nobody.
    Deny,
    /// Everybody, as long as no consumer has been declared.
    UntilConsumers,
}

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// Somebody whom we do not know and serve all the same.
    Anonymous,
    /// A consumer, by this key of it.
    Consumer(&'a std::sync::Arc<Consumer>, &'a ConsumerKey),
}

impl<'a> Known<'a> {
    /// The caller as routes see it.
    pub fn caller(self) -> Caller<'a> {
        match self {
            Self::Anonymous => Caller::Anonymous,
            Self::Consumer(consumer, _) => Caller::Consumer(consumer),
        }
    }
}

/// Recognises a caller.
///
/// A client may send a key in both headers, one of them a left-over of its environment: the first
/// that is known counts. Where callers without a key are served, so are those with an unknown one,
/// because the SDKs cannot send none.
///
/// # Errors
/// When the caller must be known and is not.
pub fn known<'a>(
    table: &'a Table,
    headers: &HeaderMap,
    anonymous: Anonymous,
) -> Result<Known<'a>, ApiError> {
    let consumers = table.consumers();
    let served = match anonymous {
        Anonymous::Allow => true,
        Anonymous::Deny => false,
        Anonymous::UntilConsumers => consumers.all().is_empty(),
    };
    if served && consumers.all().is_empty() {
        return Ok(Known::Anonymous);
    }
    let mut shown = keys(headers).peekable();
    let any = shown.peek().is_some();
    if let Some((consumer, key)) = shown.find_map(|key| consumers.find(&Digest::of(key))) {
        return Ok(Known::Consumer(consumer, key));
    }
    match (served, any) {
        (true, _) => Ok(Known::Anonymous),
        (false, true) => Err(error::unknown_key()),
        (false, false) => Err(error::no_key()),
    }
}

/// The keys that a request shows: at most two, so that nobody makes us hash a hundred.
fn keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key)
    });
    let plain = headers.get(X_API_KEY).map(http::HeaderValue::as_bytes);
    bearer.into_iter().chain(plain).filter(|key| !key.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::table::{Consumers, ObjectId};

    const KEY: &str = "tk-0123456789abcdef";

    fn table(keys: Option<&[&str]>) -> Table {
        let key =
            |key: &&str| ConsumerKey { name: "k".into(), digest: Digest::of_key(key).unwrap() };
        let consumer = keys.map(|keys| Consumer {
            id: ObjectId::new("team", "app"),
            groups: Vec::new(),
            preference: None,
            keys: keys.iter().map(key).collect(),
        });
        Table::new(1, Vec::new()).with_consumers(Consumers::new(consumer.map(Arc::new)))
    }

    /// `app`, `anonymous`, or the code of the refusal.
    fn who(table: &Table, headers: &[(&'static str, &str)], anonymous: Anonymous) -> String {
        let name = |(name, _): &(&'static str, &str)| HeaderName::from_static(name);
        let headers = headers.iter().map(|pair| (name(pair), pair.1.parse().unwrap())).collect();
        match known(table, &headers, anonymous) {
            Ok(Known::Anonymous) => "anonymous".to_owned(),
            Ok(Known::Consumer(consumer, _)) => consumer.id.name.to_string(),
            Err(refused) => refused.code.unwrap().into_owned(),
        }
    }

    #[test]
    fn a_key_is_taken_from_the_header_of_either_sdk() {
        let table = table(Some(&[KEY]));
        let bearer = format!("bearer  {KEY}");
        for (headers, expected) in [
            (&[("authorization", &*format!("Bearer {KEY}"))][..], "app"),
            (&[("authorization", &*bearer)], "app"),
            (&[("x-api-key", KEY)], "app"),
            (&[("authorization", "Bearer left-over"), ("x-api-key", KEY)], "app"),
            (&[("authorization", KEY)], "missing_api_key"),
            (&[("authorization", "Basic YTpi")], "missing_api_key"),
            (&[("authorization", "Bearer ")], "missing_api_key"),
            (&[("x-api-key", "tk-0123456789abcdeX")], "invalid_api_key"),
            (&[], "missing_api_key"),
        ] {
            assert_eq!(who(&table, headers, Anonymous::Deny), expected, "{headers:?}");
        }
    }

    /// A consumer whose only key is bad still closes the door.
    #[test]
    fn callers_without_a_key_are_served_where_the_process_says_so() {
        let (none, bad, good) = (table(None), table(Some(&[])), table(Some(&[KEY])));
        let unknown = &[("authorization", "Bearer x")][..];
        for (table, anonymous, expected) in [
            (&none, Anonymous::Deny, "invalid_api_key"),
            (&none, Anonymous::Allow, "anonymous"),
            (&none, Anonymous::UntilConsumers, "anonymous"),
            (&bad, Anonymous::UntilConsumers, "invalid_api_key"),
            (&good, Anonymous::UntilConsumers, "invalid_api_key"),
            (&good, Anonymous::Allow, "anonymous"),
        ] {
            assert_eq!(who(table, unknown, anonymous), expected, "{table:?} {anonymous:?}");
        }
        assert_eq!(who(&good, &[("x-api-key", KEY)], Anonymous::Allow), "app");
    }
}
