//! How single fields of the table are written, where serde's own way would not do.
//!
//! Reading is parsing: what a running proxy relies on (a provider that exists, a duration that can be
//! added to a clock, a key that fits a header) is checked here, so that a table from outside is as
//! good as one that was compiled in this process.

use std::{borrow::Cow, fmt::Display, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Hexadecimal digits as bytes, two each.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(bytes)
}

/// A count that is not 0.
pub(super) fn at_least_one<'de, D: Deserializer<'de>>(reader: D) -> Result<u32, D::Error> {
    Ok(std::num::NonZeroU32::deserialize(reader)?.get())
}

/// Reads a text, and makes something of it.
fn parse<'de, D, T, E>(reader: D, make: impl FnOnce(&str) -> Result<T, E>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: Display,
{
    make(&Cow::<'_, str>::deserialize(reader)?).map_err(Error::custom)
}

/// A duration as whole milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Serializer};

    pub(in crate::table) fn serialize<S: Serializer>(
        duration: &Duration,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.serialize_u32(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
    }

    /// 32 bits are 49 days, far above the day that a resource may ask for, and can be added to any
    /// clock without overflow.
    pub(in crate::table) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<Duration, D::Error> {
        u32::deserialize(reader).map(|millis| Duration::from_millis(millis.into()))
    }
}

/// A duration as whole milliseconds, or none.
pub(super) mod maybe_millis {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's form")]
    pub(in crate::table) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::millis::serialize(duration, writer),
            None => writer.serialize_none(),
        }
    }

    pub(in crate::table) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<Option<Duration>, D::Error> {
        let millis = Option::<u32>::deserialize(reader)?;
        Ok(millis.map(|millis| Duration::from_millis(millis.into())))
    }
}

/// A provider by the name of its row: what the row says comes with the program.
pub(super) mod provider {
    use super::{Deserializer, Serializer, parse};
    use crate::provider::{self, Provider};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
    pub(in crate::table) fn serialize<S: Serializer>(
        provider: &&'static Provider,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.serialize_str(provider.name)
    }

    pub(in crate::table) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<&'static Provider, D::Error> {
        parse(reader, |name| {
            provider::find(name).ok_or_else(|| format!("provider `{name}` is not known here"))
        })
    }
}

/// The name of a header.
pub(super) mod header_name {
    use http::HeaderName;

    use super::{Deserializer, Serializer, parse};

    pub(in crate::table) fn serialize<S: Serializer>(
        name: &HeaderName,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.serialize_str(name.as_str())
    }

    pub(in crate::table) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<HeaderName, D::Error> {
        parse(reader, str::parse)
    }
}

/// An API key, in the clear: the encoding goes into a Kubernetes `Secret`, and nowhere else.
pub(super) mod exposed {
    use super::{super::Secret, Deserializer, Serializer, parse};

    pub(in crate::table) fn serialize<S: Serializer>(
        secret: &Secret,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        writer.serialize_str(secret.exposed())
    }

    pub(in crate::table) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<Secret, D::Error> {
        parse(reader, Secret::new)
    }
}

/// Certificates: PEM is text, but nothing forbids other bytes around it.
pub(super) mod bytes {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::{Arc, Cow, Deserialize, Deserializer, Error, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Bytes<'a> {
        #[serde(rename = "text", borrow)]
        Text(Cow<'a, str>),
        #[serde(rename = "base64")]
        Base64(String),
    }

    #[expect(clippy::ref_option, reason = "serde's form")]
    pub(in crate::table) fn serialize<S: Serializer>(
        bytes: &Option<Arc<[u8]>>,
        writer: S,
    ) -> Result<S::Ok, S::Error> {
        let written = bytes.as_deref().map(|bytes| match str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.into()),
            Err(_) => Bytes::Base64(STANDARD.encode(bytes)),
        });
        written.serialize(writer)
    }

    pub(in crate::table) fn deserialize<'de, D: Deserializer<'de>>(
        reader: D,
    ) -> Result<Option<Arc<[u8]>>, D::Error> {
        Ok(match Option::<Bytes<'_>>::deserialize(reader)? {
            None => None,
            Some(Bytes::Text(text)) => Some(text.as_bytes().into()),
            Some(Bytes::Base64(text)) => Some(STANDARD.decode(text).map_err(Error::custom)?.into()),
        })
    }
}
