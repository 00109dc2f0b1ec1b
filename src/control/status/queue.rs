//! Which status is written when. Pure: times are arguments.
//!
//! A status that says something new is written at once, but an object's own not more often than once
//! a second, and one that is about to change again waits for that. A new count of proxies alone is
//! written at leisure: scaling the proxies touches the status of every object there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::control::progress::Key;

/// The least time between two writes of one status.
const APART: Duration = Duration::from_secs(1);

/// How long a status waits for its object to arrive at every proxy.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How long a count waits for the next one.
const LEISURE: Duration = Duration::from_secs(3);

/// The time between two counts: 50 a second.
const PACE: Duration = Duration::from_millis(20);

/// How many writes are under way at most.
const AT_ONCE: usize = 8;

/// How soon a status must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Now.
    Now,
    /// At this time, unless it has become urgent or right by then.
    At(Instant),
    /// When there is time.
    Leisure,
}

/// The statuses that are to be written.
#[derive(Debug, Default)]
pub struct Queue {
    due: BTreeMap<Key, Instant>,
    order: BTreeSet<(Instant, Key)>,
    busy: BTreeSet<Key>,
    written: BTreeMap<Key, Instant>,
    /// Where the last count stands.
    last_count: Option<Instant>,
}

impl Queue {
    /// A status is not as it should be.
    pub fn push(&mut self, key: Key, urgency: Urgency, now: Instant) {
        let waits = self.due.get(&key).copied();
        let due = match urgency {
            Urgency::Now => now,
            Urgency::At(at) => at.max(now),
            Urgency::Leisure if waits.is_some() => return,
            Urgency::Leisure => {
                let due = (now + LEISURE).max(self.last_count.map_or(now, |last| last + PACE));
                self.last_count = Some(due);
                due
            }
        };
        let due = due.max(self.written.get(&key).map_or(now, |written| *written + APART));
        self.forget(&key);
        self.due.insert(key.clone(), due);
        self.order.insert((due, key));
    }

    /// A status is as it should be.
    pub fn forget(&mut self, key: &Key) {
        if let Some(due) = self.due.remove(key) {
            self.order.remove(&(due, key.clone()));
        }
    }

    /// When the next one may be due.
    pub fn next(&self) -> Option<Instant> {
        let free = self.busy.len() < AT_ONCE;
        self.order
            .iter()
            .filter(|_| free)
            .find(|(_, key)| !self.busy.contains(key))
            .map(|(due, _)| *due)
    }

    /// One that is due and that nobody writes, now being written.
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        if self.busy.len() >= AT_ONCE {
            return None;
        }
        let due = self.order.iter().take_while(|(due, _)| *due <= now);
        let key = due.map(|(_, key)| key).find(|key| !self.busy.contains(*key))?.clone();
        self.forget(&key);
        self.busy.insert(key.clone());
        Some(key)
    }

    /// A write has ended.
    pub fn done(&mut self, key: Key, now: Instant) {
        self.busy.remove(&key);
        self.written.retain(|_, written| now < *written + APART);
        self.written.insert(key, now);
    }

    /// It turned out that there was nothing to write.
    pub fn spared(&mut self, key: &Key) {
        self.busy.remove(key);
    }

    /// This process does not lead any more.
    pub fn clear(&mut self) {
        self.due.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::kind::Kind, table::ObjectId};

    fn key(name: &str) -> Key {
        (Kind::ModelRoute, ObjectId::new("team", name))
    }

    #[tokio::test]
    async fn news_is_written_at_once_and_then_not_more_than_once_a_second() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push(key("a"), Urgency::Now, now);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.push(key("a"), Urgency::Now, now);
        assert_eq!(queue.take(now + APART), None, "one write of it at a time");
        queue.done(key("a"), now);
        queue.push(key("a"), Urgency::Now, now);
        assert_eq!(queue.next(), Some(now + APART));
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + APART), Some(key("a")));
    }

    #[tokio::test]
    async fn what_becomes_right_while_it_waits_is_not_written() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.push(key("a"), Urgency::At(now + PATIENCE), now);
        assert_eq!(queue.take(now), None);
        queue.forget(&key("a"));
        assert_eq!((queue.next(), queue.take(now + PATIENCE)), (None, None));
    }

    #[tokio::test]
    async fn counts_are_spread_and_news_overtakes_them() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for at in 0..100 {
            queue.push(key(&at.to_string()), Urgency::Leisure, now);
            queue.push(key(&at.to_string()), Urgency::Leisure, now);
        }
        let due =
            |queue: &Queue, after| queue.due.values().filter(|due| **due <= now + after).count();
        assert_eq!(due(&queue, LEISURE), 1);
        assert_eq!(due(&queue, LEISURE + Duration::from_secs(1)), 51);
        queue.push(key("7"), Urgency::Now, now);
        assert_eq!(queue.take(now), Some(key("7")));
    }

    #[tokio::test]
    async fn only_so_many_are_written_at_once() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for at in 0..20 {
            queue.push(key(&at.to_string()), Urgency::Now, now);
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(now)).collect();
        assert_eq!(taken.len(), AT_ONCE);
        queue.spared(&taken[0]);
        assert!(queue.take(now).is_some());
    }
}
