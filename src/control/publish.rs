//! Writes the table into its Secrets; what is written next is decided in `table::publish`.
//!
//! Every write replaces the version that was read last, so of two that publish one loses and reads
//! everything again. A base is read back before the head names it. Whatever ends in between leaves
//! the head that was there, and with it a whole table.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use tokio::time::Instant;

use super::{
    lease::Term,
    watch::{Failure, within},
};
use crate::{
    observe::operator::{Operator, WriteResult},
    table::{
        Contents, Slot, Stamp, Token,
        base::{Refused, Unreadable},
        head::{DATA_KEY, HEAD_SECRET},
        publish::{self, Plan, Published},
    },
};

/// The longest wait for one answer. Shorter than what is left of a lease when its holder's time ends.
const ANSWER: Duration = Duration::from_secs(3);

/// Writes that one publication may take: claim the epoch, write a base, flip, and one to spare.
const MOST_STEPS: usize = 4;

/// Why a table was not published. The one that was published before stays.
#[derive(Debug, thiserror::Error)]
pub enum Unpublished {
    /// The table itself cannot be.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Somebody else wrote in between; everything is read again.
    #[error("somebody else has written {0}")]
    Conflict(&'static str),
    /// The time of this leader ended.
    #[error("this process does not lead any more")]
    NotLeading,
    /// What is there was written by a later version.
    #[error("what is published cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    /// The API server, or the way to it.
    #[error("{0} cannot be {1}: {2}")]
    Failed(&'static str, &'static str, String),
}

/// The publisher of this process.
#[derive(Debug)]
pub struct Publisher {
    api: Api<Secret>,
    meter: Operator,
    /// For a first head.
    token: Token,
    /// The highest revision that was ever seen.
    revision: u64,
    read: Option<Held>,
}

/// What the Secrets hold, as this process knows.
#[derive(Debug, Default)]
struct Held {
    published: Option<Published>,
    /// The version of each Secret that exists.
    versions: BTreeMap<&'static str, String>,
}

impl Publisher {
    /// One that has read nothing yet. `random` is for the token of a first head.
    pub fn new(api: Api<Secret>, meter: Operator, random: [u8; 32]) -> Self {
        Self { api, meter, token: Token::new(random), revision: 0, read: None }
    }

    /// What is published, as it was last read or written.
    pub fn published(&self) -> Option<&Published> {
        self.read.as_ref()?.published.as_ref()
    }

    /// Does not trust any more what it knows: somebody else may have written since.
    pub fn forget(&mut self) {
        self.read = None;
    }

    /// Reads what is published.
    ///
    /// # Errors
    /// When the API server does not answer, or a later version has written it.
    pub async fn read(&mut self) -> Result<Option<&Published>, Unpublished> {
        self.read = None;
        let mut held = Held::default();
        if let Some(head) = self.get(HEAD_SECRET, &mut held).await? {
            let mut slots = BTreeMap::new();
            for slot in Slot::ALL {
                if let Some(bytes) = self.get(slot.secret(), &mut held).await? {
                    slots.insert(slot, bytes);
                }
            }
            match Published::read(&head, |slot| slots.get(&slot).map(Vec::as_slice)) {
                Ok(published) => held.published = Some(published),
                Err(later @ Unreadable::Format(_)) => return Err(later.into()),
                // Somebody has spoilt it: written anew, it is whole again.
                Err(error) => {
                    tracing::error!(%error, "the published head is no head; it is replaced");
                }
            }
        }
        if let Some(published) = &held.published {
            self.revision = self.revision.max(published.head.stamp.revision);
        }
        Ok(self.read.insert(held).published.as_ref())
    }

    /// Publishes a table, if it is not published yet: the version that holds it.
    ///
    /// # Errors
    /// When it is not published; what was published before is.
    pub async fn publish(
        &mut self,
        table: &Arc<Contents>,
        term: Term,
    ) -> Result<Stamp, Unpublished> {
        self.steps(table, term, |published, table, last, token| {
            publish::plan(published, table, last, token)
        })
        .await
    }

    /// Folds what has changed into a base, so that the next change is a small write again, and so that
    /// a key that was taken away is in no Secret any more: once for each of the two bases.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn fold(&mut self, table: &Arc<Contents>, term: Term) -> Result<Stamp, Unpublished> {
        let slot = |published: &Published| published.head.base.as_ref().map(|base| base.slot);
        let begun = self.published().and_then(slot);
        self.steps(table, term, |published, table, last, token| match published {
            // The other slot is named: this was done.
            Some(published) if slot(published) != begun => {
                publish::plan(Some(published), table, last, token)
            }
            Some(published) if published.wants_folding() || published.wants_rinsing() => {
                publish::fold(published, table, last)
            }
            Some(_) | None => publish::plan(published, table, last, token),
        })
        .await
    }

    async fn steps(
        &mut self,
        table: &Arc<Contents>,
        term: Term,
        plan: impl Fn(Option<&Published>, &Arc<Contents>, Stamp, &Token) -> Result<Plan, Refused>,
    ) -> Result<Stamp, Unpublished> {
        if self.read.is_none() {
            self.read().await?;
        }
        let begin = Instant::now();
        for _ in 0..MOST_STEPS {
            let last = Stamp { epoch: term.epoch, revision: self.revision };
            match plan(self.published(), table, last, &self.token)? {
                Plan::Unchanged => {
                    let stamp = self.published().map(|published| published.head.stamp);
                    return Ok(stamp.unwrap_or_default());
                }
                Plan::Head(next) => self.write_head(next, term).await?,
                Plan::Flip { base, slot, next } => {
                    self.put(slot.secret(), &base.bytes, term).await?;
                    self.meter.wrote_bytes("base", base.bytes.len());
                    let found = self.read_back(slot).await?;
                    if found != base.hash {
                        self.read = None;
                        return Err(Unpublished::Conflict(slot.secret()));
                    }
                    self.write_head(next, term).await?;
                }
            }
            self.meter.publish.observe(begin.elapsed().as_secs_f64());
        }
        self.read = None;
        Err(Unpublished::Failed(HEAD_SECRET, "settled", "it is never as it was written".to_owned()))
    }

    async fn write_head(&mut self, next: Published, term: Term) -> Result<(), Unpublished> {
        let bytes = next.head.encode()?.bytes;
        self.put(HEAD_SECRET, &bytes, term).await?;
        self.meter.wrote_bytes("head", bytes.len());
        self.revision = self.revision.max(next.head.stamp.revision);
        if let Some(held) = &mut self.read {
            held.published = Some(next);
        }
        Ok(())
    }

    async fn read_back(&mut self, slot: Slot) -> Result<crate::table::base::Hash, Unpublished> {
        let mut held = Held::default();
        let bytes = self.get(slot.secret(), &mut held).await?.unwrap_or_default();
        Ok(Contents::decode(&bytes)?.1)
    }

    async fn get(
        &self,
        name: &'static str,
        held: &mut Held,
    ) -> Result<Option<Vec<u8>>, Unpublished> {
        let found = within(ANSWER, self.api.get_opt(name)).await;
        let found = found.map_err(|error| Unpublished::Failed(name, "read", error.to_string()))?;
        let Some(secret) = found else { return Ok(None) };
        held.versions.extend(secret.metadata.resource_version.map(|version| (name, version)));
        Ok(Some(secret.data.and_then(|mut data| data.remove(DATA_KEY)).unwrap_or_default().0))
    }

    /// Writes one Secret in place of the version that is known.
    async fn put(
        &mut self,
        name: &'static str,
        bytes: &[u8],
        term: Term,
    ) -> Result<(), Unpublished> {
        if !term.lasts(Instant::now()) {
            return Err(Unpublished::NotLeading);
        }
        let version = self.read.as_ref().and_then(|held| held.versions.get(name).cloned());
        let secret = secret(name, bytes, version.clone());
        let post = PostParams::default();
        let begin = Instant::now();
        let written = if version.is_some() {
            within(ANSWER, self.api.replace(name, &post, &secret)).await
        } else {
            within(ANSWER, self.api.create(&post, &secret)).await
        };
        let result = match &written {
            Ok(_) => WriteResult::Ok,
            Err(error) if error.is_conflict() => WriteResult::Conflict,
            Err(_) => WriteResult::Failed,
        };
        self.meter.wrote("Secret", result, begin.elapsed());
        match written {
            Ok(secret) => {
                if let (Some(held), Some(version)) =
                    (&mut self.read, secret.metadata.resource_version)
                {
                    held.versions.insert(name, version);
                }
                Ok(())
            }
            Err(error) => {
                // Whether it was written is not known, so nothing is.
                self.read = None;
                Err(unwritten(name, &error))
            }
        }
    }
}

fn unwritten(name: &'static str, error: &Failure) -> Unpublished {
    if error.is_conflict() || error.code() == Some(404) {
        Unpublished::Conflict(name)
    } else {
        Unpublished::Failed(name, "written", error.to_string())
    }
}

fn secret(name: &str, bytes: &[u8], version: Option<String>) -> Secret {
    let labels =
        [("app.kubernetes.io/name", "trunkline"), ("app.kubernetes.io/component", "table")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: version,
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([(DATA_KEY.to_owned(), ByteString(bytes.to_vec()))].into()),
        ..Secret::default()
    }
}
