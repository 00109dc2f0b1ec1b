//! The head: which base a table builds on, what differs from it, and which version results.
//!
//! One small object, written in one piece, so a change is visible whole or not at all. Later versions
//! have a higher [`Stamp`]; the epoch is the lease's, so that whoever lost the lease cannot go on
//! counting.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use super::{
    base::{Contents, Encoded, FORMAT, Hash, Refused, Unreadable, pack, unpack},
    overlay::Overlay,
    wire::hex,
};

/// The Secret that holds the head.
pub const HEAD_SECRET: &str = "trunkline-head";

/// The key in each of the Secrets under which the bytes stand.
pub const DATA_KEY: &str = "table.json.gz";

/// Where a base lies. The one that the head does not name is free to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// The Secret `trunkline-base-a`.
    #[serde(rename = "a")]
    A,
    /// The Secret `trunkline-base-b`.
    #[serde(rename = "b")]
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The Secret that is this slot.
    pub const fn secret(self) -> &'static str {
        match self {
            Self::A => "trunkline-base-a",
            Self::B => "trunkline-base-b",
        }
    }
}

/// A version; later ones are greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Which lease.
    pub epoch: u64,
    /// Grows by one with every head.
    pub revision: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

/// Which base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRef {
    /// Where it lies.
    pub slot: Slot,
    /// What it must be.
    pub hash: Hash,
}

/// What the operator shows to a proxy when it asks which table it runs.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// The hexadecimal digits of random bytes, which the caller draws.
    pub fn new(random: [u8; 32]) -> Self {
        Self(hex(&random).into())
    }

    /// What stands behind `Bearer `.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether this is what was shown; the time does not tell how much of it was right. An empty
    /// token admits nobody.
    pub fn admits(&self, shown: &[u8]) -> bool {
        let own = self.expose().as_bytes();
        !own.is_empty() && bool::from(own.ct_eq(shown))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// One version of the table, as it is published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Which version it is.
    pub stamp: Stamp,
    /// What it builds on; `None` while no base has been written yet.
    pub base: Option<BaseRef>,
    /// What opens `/internal/state` of the proxies.
    pub token: Token,
    /// What differs from the base.
    pub overlay: Overlay,
}

impl Head {
    /// The bytes to write.
    ///
    /// # Errors
    /// When they are too many.
    pub fn encode(&self) -> Result<Encoded, Refused> {
        #[derive(Serialize)]
        struct Written<'a> {
            format: u32,
            head: &'a Head,
        }
        pack(&Written { format: FORMAT, head: self })
    }

    /// Reads a head. Its hash names the table that results, since it covers the base's hash too.
    ///
    /// # Errors
    /// When it is no head of a format that is known here.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), Unreadable> {
        #[derive(Deserialize)]
        struct Read {
            head: Head,
        }
        let (text, hash) = unpack(bytes)?;
        let Read { head } = serde_json::from_slice(&text)?;
        Ok((head, hash))
    }

    /// The table that it makes of a base of this hash.
    ///
    /// # Errors
    /// When it is another base, or the overlay does not fit it.
    pub fn apply(&self, base: &Contents, hash: &Hash) -> Result<Contents, Unreadable> {
        match &self.base {
            None => Err(Unreadable::Unpublished),
            Some(own) if own.hash != *hash => Err(Unreadable::WrongBase),
            Some(_) => self.overlay.apply(base),
        }
    }
}
