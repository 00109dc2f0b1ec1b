//! Every way in which publishing can be cut short: crashes after any write, and two writers at once.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection, prelude::*, sample::Index};

use super::{
    Contents, Slot, Stamp, Token,
    arbitrary::{Parts, parts},
    base::Refused,
    publish::{Plan, Published, fold, plan},
};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_cut_leaves_a_whole_table(
        tables in collection::vec(parts(), 2..5),
        steps in collection::vec(step(), 1..60),
    ) {
        let tables: Vec<_> = tables.iter().map(Parts::contents).collect();
        let mut world = World::default();
        let mut writers = [Writer::new(1), Writer::new(2)];
        let mut seen = Stamp::default();
        for Step { writer, act } in steps {
            let highest = writers.iter().map(|writer| writer.last.epoch).max().unwrap();
            let writer = &mut writers[writer];
            match act {
                Act::Crash => *writer = Writer::new(highest + 1),
                Act::Publish(at) => writer.go(&mut world, at.get(&tables), false),
                Act::Fold(at) => writer.go(&mut world, at.get(&tables), true),
            }
            if let Some((stamp, table)) = world.whole() {
                prop_assert!(stamp >= seen, "{} after {}", stamp, seen);
                seen = stamp;
                prop_assert!(tables.iter().any(|own| **own == table));
            } else {
                prop_assert_eq!(seen, Stamp::default(), "a table was there, and is gone");
            }
        }
        // Whoever has the lease last gets its table out.
        let highest = writers.iter().map(|writer| writer.last.epoch).max().unwrap();
        let mut last = Writer::new(highest + 1);
        for _ in 0..12 {
            last.go(&mut world, &tables[0], false);
        }
        prop_assert_eq!(&world.whole().unwrap().1, &*tables[0]);
        prop_assert!(last.queue.is_empty());
    }
}

/// The Secrets, each with its `resourceVersion`.
#[derive(Debug, Default)]
struct World {
    head: Option<(Vec<u8>, u64)>,
    slots: BTreeMap<Slot, (Vec<u8>, u64)>,
    writes: u64,
}

impl World {
    /// What a proxy that starts now would serve.
    fn whole(&self) -> Option<(Stamp, Contents)> {
        let published = self.read()?;
        let table = published.tables?.table;
        Some((published.head.stamp, Contents::clone(&table)))
    }

    fn read(&self) -> Option<Published> {
        let (head, _) = self.head.as_ref()?;
        let slot = |slot| self.slots.get(&slot).map(|(bytes, _)| &bytes[..]);
        Some(Published::read(head, slot).unwrap())
    }
}

/// One write to one Secret, or the look at what was written.
#[derive(Debug)]
enum Write {
    Slot(Slot, Vec<u8>),
    ReadBack(Slot, Vec<u8>),
    Head(Box<Published>),
}

/// An operator that makes one write a turn, and may believe in a lease that is over.
#[derive(Debug)]
struct Writer {
    last: Stamp,
    started: bool,
    published: Option<Published>,
    /// The `resourceVersion`s that were seen last; 0 is none.
    head: u64,
    slots: BTreeMap<Slot, u64>,
    queue: Vec<Write>,
}

impl Writer {
    fn new(epoch: u64) -> Self {
        Self {
            last: Stamp { epoch, revision: 0 },
            started: false,
            published: None,
            head: 0,
            slots: BTreeMap::new(),
            queue: Vec::new(),
        }
    }

    fn look(&mut self, world: &World) {
        self.published = world.read();
        self.head = world.head.as_ref().map_or(0, |(_, version)| *version);
        self.slots = world.slots.iter().map(|(slot, (_, version))| (*slot, *version)).collect();
        self.queue.clear();
        self.started = true;
    }

    /// One turn: a look, a plan with its first write, or the next write.
    fn go(&mut self, world: &mut World, table: &Arc<Contents>, folds: bool) {
        if !self.started {
            return self.look(world);
        }
        if self.queue.is_empty() {
            let next = match &self.published {
                Some(published) if folds => fold(published, table, self.last),
                published => plan(published.as_ref(), table, self.last, &Token::new([7; 32])),
            };
            // Last in, first out.
            self.queue = match next {
                Ok(Plan::Unchanged) | Err(Refused::Superseded { .. }) => return,
                Ok(Plan::Head(next)) => vec![Write::Head(Box::new(next))],
                Ok(Plan::Flip { base, slot, next }) => vec![
                    Write::Head(Box::new(next)),
                    Write::ReadBack(slot, base.bytes.clone()),
                    Write::Slot(slot, base.bytes),
                ],
                Err(refused) => panic!("{refused}"),
            };
        }
        world.writes += 1;
        let version = world.writes;
        match self.queue.pop().unwrap() {
            Write::Slot(slot, bytes) => {
                let there = world.slots.get(&slot).map_or(0, |(_, version)| *version);
                if there != self.slots.get(&slot).copied().unwrap_or(0) {
                    return self.look(world);
                }
                world.slots.insert(slot, (bytes, version));
                self.slots.insert(slot, version);
            }
            Write::ReadBack(slot, bytes) => {
                if world.slots.get(&slot).is_none_or(|(found, _)| *found != bytes) {
                    self.look(world);
                }
            }
            Write::Head(next) => {
                if world.head.as_ref().map_or(0, |(_, version)| *version) != self.head {
                    return self.look(world);
                }
                world.head = Some((next.head.encode().unwrap().bytes, version));
                self.head = version;
                self.last = next.head.stamp;
                self.published = Some(*next);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Step {
    writer: usize,
    act: Act,
}

#[derive(Clone, Debug)]
enum Act {
    /// It is gone, and comes back with the lease.
    Crash,
    Publish(Index),
    Fold(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        1 => Just(Act::Crash),
        6 => any::<Index>().prop_map(Act::Publish),
        3 => any::<Index>().prop_map(Act::Fold),
    ];
    (0..2_usize, act).prop_map(|(writer, act)| Step { writer, act })
}
