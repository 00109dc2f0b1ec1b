//! Which table is in use, and what has to be true of another before it is.
//!
//! Pure: bytes come in, in any order, from places that may lie or lag; whole tables come out, each
//! higher than the one before. Bases are kept packed until a head names them, so that a proxy never
//! holds more than one of them unpacked beside the table.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    observe::source::TableRejection,
    table::{
        Contents, Head, Slot, Stamp, Table, Token,
        base::{Hash, Unreadable},
        head::HEAD_SECRET,
    },
};

/// One of the three Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Head,
    Base(Slot),
}

impl Which {
    /// All three; the head last, so that its base is there when a folder is read.
    pub(super) const ALL: [Self; 3] = [Self::Base(Slot::A), Self::Base(Slot::B), Self::Head];

    /// The name of the Secret.
    pub(super) const fn secret(self) -> &'static str {
        match self {
            Self::Head => HEAD_SECRET,
            Self::Base(slot) => slot.secret(),
        }
    }

    /// The folder in which it is mounted, and the word in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Base(Slot::A) => "base-a",
            Self::Base(Slot::B) => "base-b",
        }
    }
}

/// What a watch, a look or a folder found.
#[derive(Debug)]
pub(super) enum News {
    Found(Which, Vec<u8>),
    Gone(Which),
}

/// A table to be used.
#[derive(Clone, Debug)]
pub struct Version {
    /// The table.
    pub table: Arc<Table>,
    /// Which version it is.
    pub stamp: Stamp,
    /// What the operator knows it by.
    pub hash: Hash,
    /// Who may ask for it.
    pub token: Token,
}

/// What came of some bytes.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing new.
    Nothing,
    /// A higher table, complete.
    Taken(Version),
    /// The head names a base that is not here; somebody should read this slot.
    Needs(Slot),
    /// Something that is not taken, and why, in words for people.
    Rejected(TableRejection, String),
}

/// What is in use, and what else was seen.
#[derive(Debug, Default)]
pub(super) struct Live {
    stamp: Stamp,
    /// Of the head in use.
    hash: Option<Hash>,
    /// The base in use, unpacked.
    base: Option<(Hash, Contents)>,
    contents: Contents,
    /// The bytes seen last.
    head: Option<Vec<u8>>,
    slots: BTreeMap<Slot, Vec<u8>>,
    /// Whether the last head waits for its base.
    waits: bool,
}

impl Live {
    /// Whether there is no table yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.hash.is_none()
    }

    /// Looks at what one Secret holds.
    pub(super) fn see(&mut self, which: Which, bytes: Vec<u8>) -> Seen {
        match which {
            Which::Base(slot) => {
                self.slots.insert(slot, bytes);
                if !self.waits {
                    return Seen::Nothing;
                }
                let seen = self.advance();
                // It was read because the head needs it, and it is not the one.
                if matches!(seen, Seen::Needs(_)) { reject(&Unreadable::WrongBase) } else { seen }
            }
            Which::Head => {
                if self.head.as_ref() == Some(&bytes) && !self.waits {
                    return Seen::Nothing;
                }
                self.head = Some(bytes);
                self.advance()
            }
        }
    }

    /// Makes the head's table the one in use, if it is higher and whole.
    fn advance(&mut self) -> Seen {
        self.waits = false;
        let Some(bytes) = &self.head else { return Seen::Nothing };
        let (head, hash) = match Head::decode(bytes) {
            Ok(read) => read,
            Err(unreadable) => return reject(&unreadable),
        };
        if self.hash.as_ref() == Some(&hash) {
            return Seen::Nothing;
        }
        if self.hash.is_some() && head.stamp <= self.stamp {
            let message = format!("{} comes after {}", head.stamp, self.stamp);
            return Seen::Rejected(TableRejection::Stale, message);
        }
        let Some(base) = &head.base else { return Seen::Nothing };
        if self.base.as_ref().is_none_or(|(own, _)| *own != base.hash) {
            self.waits = true;
            let Some(packed) = self.slots.get(&base.slot) else { return Seen::Needs(base.slot) };
            match Contents::decode(packed) {
                Ok((contents, found)) if found == base.hash => {
                    self.base = Some((found, contents.sharing(&self.contents)));
                }
                // Half written, or of another head: the right one may come yet.
                Ok(_) => return Seen::Needs(base.slot),
                Err(unreadable) => return reject(&unreadable),
            }
            self.waits = false;
        }
        let Some((own, base)) = &self.base else { return Seen::Needs(base.slot) };
        match head.apply(base, own) {
            Err(unreadable) => reject(&unreadable),
            Ok(contents) => {
                self.contents = contents.sharing(&self.contents);
                (self.stamp, self.hash) = (head.stamp, Some(hash.clone()));
                let table = Arc::new(self.contents.table(head.stamp.revision));
                Seen::Taken(Version { table, stamp: head.stamp, hash, token: head.token })
            }
        }
    }
}

fn reject(unreadable: &Unreadable) -> Seen {
    let reason = match unreadable {
        Unreadable::Packed(_) | Unreadable::Endless | Unreadable::Malformed(_) => {
            TableRejection::Unreadable
        }
        Unreadable::Format(_) => TableRejection::Format,
        Unreadable::Misnamed(_) | Unreadable::ForeignHost(_) | Unreadable::Dangling(_) => {
            TableRejection::Invalid
        }
        Unreadable::WrongBase | Unreadable::Unpublished => TableRejection::Base,
    };
    Seen::Rejected(reason, unreadable.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::Index};

    use super::*;
    use crate::table::{
        arbitrary::{Parts, parts, two},
        publish::{Plan, Published, fold, plan},
    };

    /// Everything that was ever written, each table with its stamp.
    #[derive(Default)]
    struct History {
        writes: Vec<(Which, Vec<u8>)>,
        tables: Vec<(Stamp, Arc<Contents>)>,
        published: Option<Published>,
    }

    impl History {
        fn publish(&mut self, table: &Arc<Contents>, epoch: u64, folds: bool) {
            let token = Token::new([1; 32]);
            loop {
                let last = Stamp { epoch, revision: 0 };
                let planned = match &self.published {
                    Some(published)
                        if folds && self.tables.last().is_none_or(|(_, own)| own != table) =>
                    {
                        fold(published, table, last)
                    }
                    published => plan(published.as_ref(), table, last, &token),
                };
                let next = match planned.unwrap() {
                    Plan::Unchanged => return,
                    Plan::Head(next) => next,
                    Plan::Flip { base, slot, next } => {
                        self.writes.push((Which::Base(slot), base.bytes));
                        next
                    }
                };
                self.writes.push((Which::Head, next.head.encode().unwrap().bytes));
                if let Some(tables) = &next.tables {
                    self.tables.push((next.head.stamp, Arc::clone(&tables.table)));
                }
                self.published = Some(next);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Watches, looks and folders bring what was ever written, late, twice and out of order.
        #[test]
        fn only_whole_and_higher_tables_come_out(
            tables in collection::vec((parts(), any::<bool>()), 1..5),
            order in collection::vec(any::<Index>(), 0..40),
        ) {
            let mut history = History::default();
            for (at, (table, folds)) in tables.iter().enumerate() {
                history.publish(&Parts::contents(table), at as u64 / 2 + 1, *folds);
            }
            let mut live = Live::default();
            let mut last = Stamp::default();
            for at in order {
                let (which, bytes) = at.get(&history.writes).clone();
                if let Seen::Taken(version) = live.see(which, bytes) {
                    prop_assert!(version.stamp > last);
                    last = version.stamp;
                    let (_, own) = history.tables.iter().find(|(stamp, _)| *stamp == last).unwrap();
                    prop_assert_eq!(&*version.table, &own.table(last.revision));
                }
            }
            // The newest of each, in any order, is enough to be up to date.
            let newest = |which| history.writes.iter().rev().find(|(own, _)| *own == which);
            let mut newest: Vec<_> = Which::ALL.into_iter().filter_map(newest).cloned().collect();
            newest.rotate_left(tables.len() % 3);
            for (which, bytes) in newest {
                live.see(which, bytes);
            }
            prop_assert_eq!(live.stamp, history.tables.last().unwrap().0);
        }

        /// Workers keep counters and key states beside a route for as long as it is the same one.
        #[test]
        fn what_did_not_change_stays_the_same_one((before, after) in two(), folds in any::<bool>()) {
            let (before, after) = (before.contents(), after.contents());
            let mut history = History::default();
            history.publish(&before, 1, false);
            history.publish(&after, 1, folds);
            let mut live = Live::default();
            let mut tables = Vec::new();
            for (which, bytes) in history.writes {
                if let Seen::Taken(version) = live.see(which, bytes) {
                    tables.push(version.table);
                }
            }
            if let [first, .., last] = &tables[..] {
                for route in last.routes() {
                    let same = first.routes().iter().find(|own| *own == route);
                    prop_assert!(same.is_none_or(|same| Arc::ptr_eq(same, route)));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(
            table in parts(),
            noise in collection::vec((0..3_usize, collection::vec(any::<u8>(), 0..32)), 0..8),
        ) {
            let mut history = History::default();
            history.publish(&table.contents(), 1, false);
            let mut live = Live::default();
            for (which, bytes) in history.writes {
                live.see(which, bytes);
            }
            let before = live.contents.clone();
            for (which, bytes) in noise {
                let seen = live.see(Which::ALL[which], bytes);
                prop_assert!(!matches!(seen, Seen::Taken(_)));
            }
            prop_assert_eq!(live.contents, before);
        }
    }
}
