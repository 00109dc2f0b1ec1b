//! A target's credential as it is written: by name.
//!
//! A credential stands once in an encoding, however many targets use it: so a rotated key is one small
//! change, and a bundle of certificates is not sent a thousand times. To read a target is therefore to
//! look its credential up, and serde hands nothing to a field's own reader; so what is known stands in
//! a thread-local for the time of one call, which only this file touches. The other ways were a second
//! set of types for the wire, or a type parameter with a mapping: either would have every new field
//! written three times.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{credential::Credential, id::ObjectId};

/// Credentials by name.
pub type Credentials = BTreeMap<ObjectId, Arc<Credential>>;

thread_local! {
    static KNOWN: RefCell<Credentials> = const { RefCell::new(BTreeMap::new()) };
}

/// Calls `read` while names of credentials mean those of `known`, and gives `known` back.
pub(super) fn resolving<T>(known: Credentials, read: impl FnOnce() -> T) -> (T, Credentials) {
    let outer = KNOWN.replace(known);
    let result = read();
    (result, KNOWN.replace(outer))
}

pub(super) fn serialize<S: Serializer>(
    credential: &Arc<Credential>,
    writer: S,
) -> Result<S::Ok, S::Error> {
    credential.id.serialize(writer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    reader: D,
) -> Result<Arc<Credential>, D::Error> {
    let id = ObjectId::deserialize(reader)?;
    KNOWN.with_borrow(|known| {
        let unknown = || Error::custom(format!("credential {id} is named and not given"));
        known.get(&id).cloned().ok_or_else(unknown)
    })
}
