//! A whole table as bytes, and back.
//!
//! The bytes are JSON, compressed: people can read it (`base64 -d | gunzip`), and versions that differ
//! by a few fields read each other. It is canonical, so equal tables have equal hashes. The revision
//! is not in it: it belongs to the head that names the base.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::{Read, Write},
    num::NonZeroU32,
    sync::Arc,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    Backends, Consumer, Consumers, Credential, Key, ObjectId, Prices, Route, Table,
    reference::{Credentials, resolving},
    wire::hex,
};

/// The version of the encoding. Fields may come without a new one; a change that an older proxy would
/// read wrongly needs one.
pub const FORMAT: u32 = 1;

/// The largest encoding, compressed. A Kubernetes object holds 1 MiB, base64 and metadata included in
/// etcd's 1.5 MiB.
pub const MOST_BYTES: usize = 900 << 10;

/// The most that an encoding may unpack to: a few bytes can claim to be gigabytes.
const MOST_UNPACKED: usize = 128 << 20;

/// Routes by name.
pub type Routes = BTreeMap<ObjectId, Arc<Route>>;

/// Consumers by name.
pub type ConsumersByName = BTreeMap<ObjectId, Arc<Consumer>>;

/// What is in a table, by name: two of these can be compared and joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub(super) backends: Backends,
    pub(super) consumers: ConsumersByName,
    pub(super) credentials: Credentials,
    pub(super) prices: Prices,
    pub(super) proxies: u32,
    pub(super) routes: Routes,
}

/// The SHA-256 of an encoding before it is compressed, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash(String);

/// Bytes to be written, and what they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Compressed.
    pub bytes: Vec<u8>,
    /// Of the bytes before that.
    pub hash: Hash,
}

/// Why a table is not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not fit into a Kubernetes object.
    #[error(
        "the routing table has {0} bytes compressed, and {MOST_BYTES} is the most; take routes away or split the installation"
    )]
    TooLarge(usize),
    /// It does not unpack to what a proxy would read.
    #[error(
        "the routing table has {0} bytes, and {MOST_UNPACKED} is the most; take routes away or split the installation"
    )]
    TooLong(usize),
    /// It cannot be written as JSON.
    #[error("the routing table cannot be written: {0}")]
    Unwritable(String),
    /// A name would have two meanings.
    #[error("{0} stands in the table in two versions")]
    TwoVersions(ObjectId),
    /// Somebody with a later lease has published.
    #[error("epoch {ours} is over: epoch {theirs} has published")]
    Superseded {
        /// The epoch of the caller.
        ours: u64,
        /// The epoch that was found.
        theirs: u64,
    },
}

/// Why bytes are no table.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not a compressed text, or one that has no end.
    #[error("it cannot be unpacked")]
    Packed(#[source] std::io::Error),
    /// Larger than any table.
    #[error("it unpacks to more than {MOST_UNPACKED} bytes")]
    Endless,
    /// Written by a version that this one does not understand.
    #[error("its format is {0}, and this program reads {FORMAT}; upgrade it")]
    Format(u32),
    /// Not what a table looks like.
    #[error("it is no routing table: {0}")]
    Malformed(String),
    /// A name with something else behind it.
    #[error("{0} stands under another name")]
    Misnamed(ObjectId),
    /// A key that would go where its provider is not.
    #[error("credential {0} names a host that is not its provider's")]
    ForeignHost(ObjectId),
    /// A credential was taken away and is still in use.
    #[error("route {0} names a credential that is taken away")]
    Dangling(ObjectId),
    /// The first head stands before the first base.
    #[error("nothing has been published yet")]
    Unpublished,
    /// Not the base that the head was built on: it is half written, or another's.
    #[error("the base is not the one that the head names")]
    WrongBase,
}

impl Contents {
    /// Takes a table apart.
    ///
    /// # Errors
    /// When one name stands for two things, which no compiled table has.
    pub fn of(table: &Table) -> Result<Self, Refused> {
        let contents = Self::of_routes(table.routes())?.with_consumers(table.consumers())?;
        let contents = contents.with_backends(table.backends().clone());
        Ok(contents.with_proxies(table.proxies()).with_prices(table.prices().clone()))
    }

    /// Whether it holds a provider's key that `table` does not.
    pub(super) fn has_keys_beyond(&self, table: &Self) -> bool {
        self.credentials.iter().any(|(id, credential)| {
            let other = table.credentials.get(id);
            let same = other.is_some_and(|other| Arc::ptr_eq(other, credential));
            let kept = |key: &Key| {
                other.is_some_and(|other| other.keys.iter().any(|own| own.secret == key.secret))
            };
            !same && !credential.keys.iter().all(kept)
        })
    }

    /// The same with these backends.
    #[must_use]
    pub fn with_backends(self, backends: Backends) -> Self {
        Self { backends, ..self }
    }

    /// The same, shared by so many proxies.
    #[must_use]
    pub fn with_proxies(self, proxies: u32) -> Self {
        Self { proxies, ..self }
    }

    /// The same with these prices.
    #[must_use]
    pub fn with_prices(self, prices: Prices) -> Self {
        Self { prices, ..self }
    }

    /// What the next dollar of each account with spend tiers costs.
    pub const fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The credentials that have spend tiers.
    pub fn tiered(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.credentials.values().filter(|credential| !credential.tiers.is_empty())
    }

    /// How many proxies share each quota and the room of each tier.
    pub const fn proxies(&self) -> u32 {
        self.proxies
    }

    /// Whether anything in it is shared by the proxies: a quota, or the room of a tier.
    pub fn is_shared(&self) -> bool {
        self.credentials.values().any(|credential| !credential.quota.is_empty())
            || self.routes.values().any(|route| route.choosing.spillover.is_some())
    }

    /// The same with these consumers.
    ///
    /// # Errors
    /// As [`Contents::of`].
    pub fn with_consumers(self, consumers: &Consumers) -> Result<Self, Refused> {
        let mut contents = Self { consumers: ConsumersByName::new(), ..self };
        for consumer in consumers.all() {
            if contents.consumers.insert(consumer.id.clone(), Arc::clone(consumer)).is_some() {
                return Err(Refused::TwoVersions(consumer.id.clone()));
            }
        }
        Ok(contents)
    }

    /// As [`Contents::of`], of routes in any order.
    ///
    /// # Errors
    /// As [`Contents::of`].
    pub fn of_routes<'a>(
        routes: impl IntoIterator<Item = &'a Arc<Route>>,
    ) -> Result<Self, Refused> {
        let mut contents = Self::default();
        for route in routes {
            for target in &route.targets {
                let credential = &target.credential;
                match contents.credentials.entry(credential.id.clone()) {
                    Entry::Vacant(free) => {
                        free.insert(Arc::clone(credential));
                    }
                    Entry::Occupied(known) if known.get() == credential => {}
                    Entry::Occupied(known) => {
                        return Err(Refused::TwoVersions(known.key().clone()));
                    }
                }
            }
            if contents.routes.insert(route.id.clone(), Arc::clone(route)).is_some() {
                return Err(Refused::TwoVersions(route.id.clone()));
            }
        }
        Ok(contents)
    }

    /// Puts it together.
    pub fn table(&self, revision: u64) -> Table {
        let consumers = Consumers::new(self.consumers.values().map(Arc::clone));
        Table::of_shared(revision, self.routes.values().map(Arc::clone).collect())
            .with_consumers(consumers)
            .with_backends(self.backends.clone())
            .with_proxies(self.proxies)
            .with_prices(self.prices.clone())
    }

    /// The bytes of a base.
    ///
    /// # Errors
    /// When it is too large: nothing is ever left out.
    pub fn encode(&self) -> Result<Encoded, Refused> {
        #[derive(Serialize)]
        struct Written<'a> {
            format: u32,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            backends: &'a Backends,
            consumers: &'a ConsumersByName,
            credentials: &'a Credentials,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            prices: &'a Prices,
            #[serde(skip_serializing_if = "Option::is_none")]
            proxies: Option<NonZeroU32>,
            routes: &'a Routes,
        }
        let Self { backends, consumers, credentials, prices, proxies, routes } = self;
        let proxies = NonZeroU32::new(*proxies);
        pack(&Written { format: FORMAT, backends, consumers, credentials, prices, proxies, routes })
    }

    /// Reads a base.
    ///
    /// # Errors
    /// When any part of it cannot be used.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), Unreadable> {
        #[derive(Deserialize)]
        struct Read<'a> {
            #[serde(default)]
            backends: Backends,
            #[serde(default)]
            consumers: ConsumersByName,
            credentials: Credentials,
            #[serde(default)]
            prices: Prices,
            #[serde(default)]
            proxies: u32,
            #[serde(borrow)]
            routes: &'a RawValue,
        }
        let (text, hash) = unpack(bytes)?;
        let Read { backends, consumers, credentials, prices, proxies, routes } =
            serde_json::from_slice(&text)?;
        check_consumers(&consumers)?;
        check_credentials(&credentials)?;
        let (routes, credentials) =
            resolving(credentials, || serde_json::from_str::<Routes>(routes.get()));
        let routes = routes?;
        match routes.iter().find(|(id, route)| **id != route.id) {
            Some((id, _)) => Err(Unreadable::Misnamed(id.clone())),
            None => Ok((Self { backends, consumers, credentials, prices, proxies, routes }, hash)),
        }
    }

    /// The same, with those routes of `before` that are equal: what others keep beside a route stays.
    #[must_use]
    pub fn sharing(mut self, before: &Self) -> Self {
        for (id, route) in &mut self.routes {
            if let Some(same) = before.routes.get(id).filter(|same| *same == route) {
                *route = Arc::clone(same);
            }
        }
        self
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// What must hold for consumers from outside: each stands under its name.
pub(super) fn check_consumers(consumers: &ConsumersByName) -> Result<(), Unreadable> {
    match consumers.iter().find(|(id, consumer)| **id != consumer.id) {
        Some((id, _)) => Err(Unreadable::Misnamed(id.clone())),
        None => Ok(()),
    }
}

/// What must hold for credentials from outside: each stands under its name, and its keys go to its
/// provider only.
pub(super) fn check_credentials(credentials: &Credentials) -> Result<(), Unreadable> {
    for (id, credential) in credentials {
        let Credential { id: own, provider, endpoint, keys: _, quota: _, tiers: _ } = &**credential;
        if id != own {
            return Err(Unreadable::Misnamed(id.clone()));
        }
        if !provider.owns(&endpoint.host) || (endpoint.service && !provider.hosts.is_empty()) {
            return Err(Unreadable::ForeignHost(id.clone()));
        }
    }
    Ok(())
}

/// Writes a document as compressed JSON.
pub(super) fn pack(document: &impl Serialize) -> Result<Encoded, Refused> {
    let unwritable = |error: &dyn std::fmt::Display| Refused::Unwritable(error.to_string());
    let text = serde_json::to_vec(document).map_err(|error| unwritable(&error))?;
    if text.len() > MOST_UNPACKED {
        return Err(Refused::TooLong(text.len()));
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::new(4));
    let packed = packed.write_all(&text).and_then(|()| packed.finish());
    let bytes = packed.map_err(|error| unwritable(&error))?;
    if bytes.len() > MOST_BYTES {
        return Err(Refused::TooLarge(bytes.len()));
    }
    Ok(Encoded { bytes, hash: Hash::of(&text) })
}

/// The JSON in compressed bytes, once it is known to be of our format.
pub(super) fn unpack(bytes: &[u8]) -> Result<(Vec<u8>, Hash), Unreadable> {
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    let text = inflate(bytes, MOST_UNPACKED)?;
    let Any { format } = serde_json::from_slice(&text)?;
    if format != FORMAT {
        return Err(Unreadable::Format(format));
    }
    let hash = Hash::of(&text);
    Ok((text, hash))
}

/// What compressed bytes unpack to, `most` bytes and no more.
pub(super) fn inflate(bytes: &[u8], most: usize) -> Result<Vec<u8>, Unreadable> {
    let mut text = Vec::new();
    let limit = most as u64 + 1;
    let read = GzDecoder::new(bytes).take(limit).read_to_end(&mut text);
    if read.map_err(Unreadable::Packed)? > most {
        return Err(Unreadable::Endless);
    }
    Ok(text)
}

impl Hash {
    fn of(text: &[u8]) -> Self {
        Self(hex(&Sha256::digest(text)))
    }

    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// serde quotes the text that it did not expect, and that may be a key.
impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        let told = error.to_string();
        Self::Malformed(match (told.split_once('"'), told.rsplit_once('"')) {
            (Some((before, _)), Some((_, after))) => format!("{before}[text]{after}"),
            _ => told,
        })
    }
}

/// The bytes hold keys.
impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoded({} bytes, {})", self.bytes.len(), self.hash.0)
    }
}
