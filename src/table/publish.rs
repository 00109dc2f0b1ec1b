//! How a table is published: which object is written next.
//!
//! The rules, which the tests model with crashes after any write and with a second writer:
//!
//! 1. What proxies use is never overwritten: a base goes into the slot that the head does not name,
//!    is read back, and then the head flips to it in one write.
//! 2. Every write is a replacement that carries the `resourceVersion` that the writer saw last, the
//!    bases' too; who loses it reads everything again.
//! 3. Whoever is new in an epoch writes the head before it writes a base, the very first head without
//!    one. From then on a predecessor that still believes in its lease cannot flip to a base that is
//!    being overwritten.
//!
//! One call plans one step; the caller makes it, and asks again until [`Plan::Unchanged`].

use std::sync::Arc;

use super::{
    base::{Contents, Encoded, Refused, Unreadable},
    head::{BaseRef, Head, Slot, Stamp, Token},
    overlay::Overlay,
};

/// An overlay of this many bytes should be folded into a base when there is time: each change costs
/// as much to write as the overlay is large.
pub const FOLD_SOON: usize = 64 << 10;

/// An overlay of this many bytes is folded before anything else is published.
pub const FOLD_NOW: usize = 512 << 10;

/// What the Secrets hold.
#[derive(Clone, Debug)]
pub struct Published {
    /// The head.
    pub head: Head,
    /// What its base and its overlay hold; `None` before the first base, and when the slot has
    /// something else in it, which only somebody else can have put there.
    pub tables: Option<Tables>,
    /// Whether the slot that the head does not name holds keys that were taken away since.
    spare_is_stale: bool,
}

/// A base and what it became.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The base.
    pub base: Arc<Contents>,
    /// With the overlay.
    pub table: Arc<Contents>,
}

/// The next step.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Everything is published.
    Unchanged,
    /// Write the head.
    Head(Published),
    /// Write the base into the slot, read it back, then write the head.
    Flip {
        /// The base.
        base: Encoded,
        /// Where it goes.
        slot: Slot,
        /// The head that then names it.
        next: Published,
    },
}

impl Published {
    /// Reads what the Secrets hold: the head, and the base in the slot that `slot` looks up.
    ///
    /// # Errors
    /// When the head cannot be read. A base that cannot be used is none.
    pub fn read<'a>(
        head: &[u8],
        slot: impl Fn(Slot) -> Option<&'a [u8]>,
    ) -> Result<Self, Unreadable> {
        let (head, _) = Head::decode(head)?;
        let lies = head.base.as_ref().and_then(|base| slot(base.slot));
        let tables = lies.and_then(|bytes| {
            let (base, hash) = Contents::decode(bytes).ok()?;
            let table = head.apply(&base, &hash).ok()?;
            Some(Tables { base: Arc::new(base), table: Arc::new(table) })
        });
        let spare = head.base.as_ref().and_then(|base| slot(base.slot.other()));
        let stale = |tables: &Tables| {
            let (spare, _) = Contents::decode(spare?).ok()?;
            Some(spare.has_keys_beyond(&tables.table))
        };
        let spare_is_stale = tables.as_ref().and_then(stale).unwrap_or(false);
        Ok(Self { head, tables, spare_is_stale })
    }

    /// Whether the overlay should be folded when there is time: it is large, or the base below it holds
    /// a key that was taken away.
    pub fn wants_folding(&self) -> bool {
        let stale = |tables: &Tables| tables.base.has_keys_beyond(&tables.table);
        self.head.overlay.len() > FOLD_SOON || self.tables.as_ref().is_some_and(stale)
    }

    /// Whether the base should be written into the other slot, too, because that one holds a key that
    /// was taken away. Not soon: a proxy may still start from a mounted copy that names it.
    pub const fn wants_rinsing(&self) -> bool {
        self.spare_is_stale
    }

    fn next_stamp(&self, last: Stamp) -> Result<Stamp, Refused> {
        let Stamp { epoch: theirs, revision } = self.head.stamp;
        let Stamp { epoch: ours, revision: seen } = last;
        if ours < theirs {
            return Err(Refused::Superseded { ours, theirs });
        }
        Ok(Stamp { epoch: ours, revision: revision.max(seen).saturating_add(1) })
    }

    /// The same table under the next stamp.
    fn claim(&self, stamp: Stamp) -> Self {
        let (tables, spare_is_stale) = (self.tables.clone(), self.spare_is_stale);
        Self { head: Head { stamp, ..self.head.clone() }, tables, spare_is_stale }
    }
}

/// The next step towards `table`. `published` is what was read or written last, `None` when there is
/// no head. `last` is the caller's epoch and the highest revision that it has ever seen, so that a head
/// that somebody deleted is not followed by a lower one. `token` is for the first head; later ones keep
/// its token.
///
/// # Errors
/// When it is too large, or a later epoch has published.
pub fn plan(
    published: Option<&Published>,
    table: &Arc<Contents>,
    last: Stamp,
    token: &Token,
) -> Result<Plan, Refused> {
    let Some(published) = published else {
        let stamp = Stamp { revision: last.revision.saturating_add(1), ..last };
        let (token, overlay) = (token.clone(), Overlay::default());
        let head = Head { stamp, base: None, token, overlay };
        return Ok(Plan::Head(Published { head, tables: None, spare_is_stale: false }));
    };
    let stamp = published.next_stamp(last)?;
    if let Some(Tables { base, table: before }) = &published.tables {
        if before == table {
            return Ok(Plan::Unchanged);
        }
        let overlay = Overlay::between(base, table)?;
        if overlay.len() <= FOLD_NOW {
            let head = Head { stamp, overlay, ..published.head.clone() };
            let tables = Tables { base: Arc::clone(base), table: Arc::clone(table) };
            let spare_is_stale = published.spare_is_stale;
            return Ok(Plan::Head(Published { head, tables: Some(tables), spare_is_stale }));
        }
    }
    fold(published, table, last)
}

/// The next step towards a base that holds all of `table`; to be taken when
/// [`Published::wants_folding`] or [`Published::wants_rinsing`], and nothing else is to do.
///
/// # Errors
/// As [`plan`].
pub fn fold(published: &Published, table: &Arc<Contents>, last: Stamp) -> Result<Plan, Refused> {
    let stamp = published.next_stamp(last)?;
    if published.head.stamp.epoch != last.epoch {
        return Ok(Plan::Head(published.claim(stamp)));
    }
    let slot = published.head.base.as_ref().map_or(Slot::A, |base| base.slot.other());
    let base = table.encode()?;
    let head = Head {
        stamp,
        base: Some(BaseRef { slot, hash: base.hash.clone() }),
        token: published.head.token.clone(),
        overlay: Overlay::default(),
    };
    let tables = Tables { base: Arc::clone(table), table: Arc::clone(table) };
    // What the head names now is the spare one then.
    let spare_is_stale =
        published.tables.as_ref().is_some_and(|tables| tables.base.has_keys_beyond(table));
    Ok(Plan::Flip { base, slot, next: Published { head, tables: Some(tables), spare_is_stale } })
}
