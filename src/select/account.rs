//! How much of an account is used, over all cores, and whether a request may still use it.
//!
//! An account is a credential with a quota or with spend tiers; what was counted outlives the table. A claim counts first
//! and looks then, so that two cores that claim the last place at once cannot both have it, and takes
//! back what it may not have. It is held as long as the request: dropping it gives the place back.
//!
//! Proxies share a quota without talking to each other: each takes the part that falls to it of as many
//! as the operator says there are.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::minute::{Minute, Slot};
use crate::{
    provider::{LIST, NanoDollars},
    table::{Credential, ObjectId, Prices, Quota, QuotaPart, Table},
};

/// When to come again where requests at the same time are limited: nobody knows when one of them ends.
const SOON: Duration = Duration::from_secs(1);

/// What is used of an account.
#[derive(Debug)]
pub struct Account {
    origin: Instant,
    proxies: Arc<AtomicU32>,
    requests: Minute,
    tokens: Minute,
    in_flight: AtomicU64,
    /// What was spent since this process began, at list prices, in nano-dollars.
    spent: AtomicU64,
    /// What the next dollar costs, in thousandths of the list price.
    price: AtomicU32,
}

/// The part of a quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub part: QuotaPart,
    /// When there is room again, as far as is known.
    pub until: Instant,
}

impl Account {
    fn new(origin: Instant, proxies: Arc<AtomicU32>) -> Self {
        let (requests, tokens) = Default::default();
        let (in_flight, spent, price) =
            (AtomicU64::new(0), AtomicU64::new(0), AtomicU32::new(LIST));
        Self { origin, proxies, requests, tokens, in_flight, spent, price }
    }

    /// Whether a request of so many tokens may use it; of the parts that are used up, the one for which
    /// one waits the longest.
    ///
    /// # Errors
    /// When it may not.
    pub fn admits(&self, quota: &Quota, tokens: u64, now: Instant) -> Result<(), Over> {
        let all = QuotaPart::ALL.iter().filter_map(|part| self.over(quota, *part, tokens, now));
        all.max_by_key(|over| over.until).map_or(Ok(()), Err)
    }

    fn over(&self, quota: &Quota, part: QuotaPart, tokens: u64, now: Instant) -> Option<Over> {
        let limit = quota.share(part, self.proxies.load(Ordering::Relaxed))?;
        let millis = self.millis(now);
        let until = match part {
            QuotaPart::MaxConcurrent => {
                (self.in_flight.load(Ordering::SeqCst) >= limit).then(|| now + SOON)
            }
            QuotaPart::RequestsPerMinute => self.at(self.requests.room_at(1, limit, millis)),
            QuotaPart::TokensPerMinute => self.at(self.tokens.room_at(tokens, limit, millis)),
        };
        until.map(|until| Over { part, until })
    }

    /// Takes a place for a request that is expected to use so many tokens.
    ///
    /// # Errors
    /// When there is none; then nothing is counted.
    pub fn claim(
        self: &Arc<Self>,
        quota: &Quota,
        tokens: u64,
        now: Instant,
    ) -> Result<Claim, Over> {
        self.admits(quota, tokens, now)?;
        let millis = self.millis(now);
        let slots = (self.requests.add(1, millis), self.tokens.add(tokens, millis));
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let claim = Claim { account: Arc::clone(self), slots, tokens };
        let proxies = self.proxies.load(Ordering::Relaxed);
        let over = QuotaPart::ALL.iter().find(|part| {
            let Some(limit) = quota.share(**part, proxies) else { return false };
            match part {
                QuotaPart::MaxConcurrent => self.in_flight.load(Ordering::SeqCst) > limit,
                QuotaPart::RequestsPerMinute => self.requests.total(millis) > limit,
                // What is longer than the limit goes when nothing else does.
                QuotaPart::TokensPerMinute => self.tokens.total(millis) > limit.max(tokens),
            }
        });
        match over {
            None => Ok(claim),
            Some(part) => {
                self.requests.take_back(1, claim.slots.0);
                self.tokens.take_back(tokens, claim.slots.1);
                Err(Over { part: *part, until: now + SOON })
            }
        }
    }

    /// What is left of each part that is limited, from 0 to 1.
    pub fn headroom(&self, quota: &Quota, now: Instant) -> Vec<(QuotaPart, f64)> {
        let (proxies, millis) = (self.proxies.load(Ordering::Relaxed), self.millis(now));
        let left = |part: &QuotaPart| {
            let limit = quota.share(*part, proxies)?;
            let used = match part {
                QuotaPart::MaxConcurrent => self.in_flight.load(Ordering::SeqCst),
                QuotaPart::RequestsPerMinute => self.requests.total(millis),
                QuotaPart::TokensPerMinute => self.tokens.total(millis),
            };
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            Some((*part, limit.saturating_sub(used) as f64 / limit as f64))
        };
        QuotaPart::ALL.iter().filter_map(left).collect()
    }

    /// Money was spent there, at list prices.
    pub fn spend(&self, money: NanoDollars) {
        self.spent.fetch_add(money.0, Ordering::Relaxed);
    }

    /// What a request costs there that has this list price.
    pub fn price(&self, list: NanoDollars) -> NanoDollars {
        let price = u128::from(self.price.load(Ordering::Relaxed));
        let nanos = u128::from(list.0) * price / u128::from(LIST);
        NanoDollars(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn at(&self, millis: Option<u64>) -> Option<Instant> {
        millis.map(|millis| self.origin + Duration::from_millis(millis))
    }

    fn millis(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.origin).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX)
    }
}

/// A place of a request in an account's quota.
#[derive(Debug)]
pub struct Claim {
    account: Arc<Account>,
    slots: (Slot, Slot),
    /// What is counted for it.
    tokens: u64,
}

impl Claim {
    /// It has used no token: the provider has turned it away.
    pub fn refund(&mut self) {
        self.account.tokens.take_back(self.tokens, self.slots.1);
        self.tokens = 0;
    }

    /// It has used so many tokens, and not as many as was expected.
    pub fn settle(&mut self, tokens: u64, now: Instant) {
        let account = &self.account;
        if tokens > self.tokens {
            account.tokens.add(tokens - self.tokens, account.millis(now));
        } else {
            account.tokens.take_back(self.tokens - tokens, self.slots.1);
        }
        self.tokens = tokens;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.account.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is used of each account with a quota.
#[derive(Debug)]
pub struct Accounts {
    origin: Instant,
    proxies: Arc<AtomicU32>,
    all: Mutex<FxHashMap<ObjectId, Arc<Account>>>,
}

impl Accounts {
    /// Nothing used yet, and nobody to share with. `now` is the origin of all times.
    pub fn new(now: Instant) -> Self {
        Self { origin: now, proxies: Arc::new(AtomicU32::new(1)), all: Mutex::default() }
    }

    /// So many proxies share each quota.
    pub fn share(&self, proxies: u32) {
        self.proxies.store(proxies.max(1), Ordering::Relaxed);
    }

    /// The next dollar of each of these accounts costs so much. Of others stays what was said last.
    pub fn set_prices(&self, prices: &Prices) {
        let all = self.lock();
        for (id, price) in prices {
            if let Some(account) = all.get(id) {
                account.price.store(*price, Ordering::Relaxed);
            }
        }
    }

    /// What was spent of each account with spend tiers since this process began, at list prices, and what
    /// its next dollar costs, in thousandths; sorted.
    pub fn spent(&self, table: &Table) -> BTreeMap<ObjectId, (NanoDollars, u32)> {
        let tiered = kept(table).filter(|credential| !credential.tiers.is_empty());
        let rows = tiered.filter_map(|credential| {
            let account = self.of(credential)?;
            let price = account.price.load(Ordering::Relaxed);
            let spent = NanoDollars(account.spent.load(Ordering::Relaxed));
            Some((credential.id.clone(), (spent, price)))
        });
        rows.collect()
    }

    /// The account of a credential with a quota or spend tiers. Takes a lock: not for the request path.
    pub fn of(&self, credential: &Credential) -> Option<Arc<Account>> {
        let account = || Arc::new(Account::new(self.origin, Arc::clone(&self.proxies)));
        is_kept(credential)
            .then(|| Arc::clone(self.lock().entry(credential.id.clone()).or_insert_with(account)))
    }

    /// Forgets the accounts that a new table no longer limits or counts.
    pub fn retain(&self, table: &Table) {
        let live: FxHashSet<&ObjectId> = kept(table).map(|credential| &credential.id).collect();
        self.lock().retain(|id, _| live.contains(id));
    }

    /// What is left of each limited part of each account of a table, sorted.
    pub fn headrooms(&self, table: &Table, now: Instant) -> Vec<(ObjectId, QuotaPart, f64)> {
        let mut all: FxHashMap<&ObjectId, Vec<_>> = FxHashMap::default();
        for credential in kept(table) {
            if !all.contains_key(&credential.id)
                && let Some(account) = self.of(credential)
            {
                all.insert(&credential.id, account.headroom(&credential.quota, now));
            }
        }
        let rows = all.into_iter().flat_map(|(id, parts)| {
            parts.into_iter().map(move |(part, left)| (id.clone(), part, left))
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable_by(|(a, of, _), (b, other, _)| (a, of).cmp(&(b, other)));
        rows
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<ObjectId, Arc<Account>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The credentials of a table that have an account; one may come more than once.
fn kept(table: &Table) -> impl Iterator<Item = &Credential> {
    let targets = table.routes().iter().flat_map(|route| &route.targets);
    targets.map(|target| &*target.credential).filter(|credential| is_kept(credential))
}

/// Whether somebody wants to know how much of it is used.
fn is_kept(credential: &Credential) -> bool {
    !credential.quota.is_empty() || !credential.tiers.is_empty()
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, thread};

    use super::*;

    fn quota(requests: u64, tokens: u64, concurrent: u64) -> Quota {
        Quota {
            requests_per_minute: NonZeroU64::new(requests),
            tokens_per_minute: NonZeroU64::new(tokens),
            max_concurrent: NonZeroU64::new(concurrent),
        }
    }

    fn account(proxies: u32) -> (Arc<Account>, Instant) {
        let now = Instant::now();
        (Arc::new(Account::new(now, Arc::new(AtomicU32::new(proxies)))), now)
    }

    #[test]
    fn each_part_is_limited_by_itself_and_the_longest_wait_is_told() {
        let (account, now) = account(1);
        let minute = now + Duration::from_secs(65);
        let first = account.claim(&quota(2, 100, 1), 60, now).unwrap();
        let busy = Over { part: QuotaPart::MaxConcurrent, until: now + SOON };
        assert_eq!(account.admits(&quota(2, 0, 1), 10, now), Err(busy));
        let long = Over { part: QuotaPart::TokensPerMinute, until: minute };
        assert_eq!(account.admits(&quota(2, 100, 1), 50, now), Err(long));
        drop(first);
        let second = account.claim(&quota(2, 100, 1), 40, now).unwrap();
        drop(second);
        let many = Over { part: QuotaPart::RequestsPerMinute, until: minute };
        assert_eq!(account.admits(&quota(2, 0, 0), 1, now), Err(many));
        assert_eq!(account.admits(&quota(2, 100, 1), 50, minute), Ok(()));
    }

    #[test]
    fn tokens_are_counted_as_expected_and_then_as_they_were() {
        let (account, now) = account(1);
        let quota = quota(0, 1000, 0);
        let left = |account: &Account| account.headroom(&quota, now)[0].1;
        let mut claim = account.claim(&quota, 600, now).unwrap();
        assert!((left(&account) - 0.4).abs() < 1e-9);
        claim.settle(100, now);
        assert!((left(&account) - 0.9).abs() < 1e-9);
        claim.settle(800, now);
        assert!((left(&account) - 0.2).abs() < 1e-9);
        drop(claim);
        assert!((left(&account) - 0.2).abs() < 1e-9, "what is used is used");
    }

    #[test]
    fn a_request_longer_than_a_minutes_tokens_goes_alone() {
        let (account, now) = account(1);
        let quota = quota(0, 1000, 0);
        let long = account.claim(&quota, 5000, now).unwrap();
        assert!(account.admits(&quota, 1, now).is_err());
        drop(long);
        assert!(account.admits(&quota, 5000, now + super::super::minute::LONGEST).is_ok());
    }

    #[test]
    fn many_cores_never_take_more_than_there_is() {
        let (account, now) = account(2);
        let quota = quota(200, 0, 60);
        let claims: Vec<_> = thread::scope(|scope| {
            let one = || {
                let claims = (0..100).filter_map(|_| account.claim(&quota, 1, now).ok());
                claims.collect::<Vec<Claim>>()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(claims.len() <= 30, "half of 60: {}", claims.len());
        assert!(account.in_flight.load(Ordering::SeqCst) == claims.len() as u64);
        assert!(
            account.requests.total(0) == claims.len() as u64,
            "what was refused does not count"
        );
        drop(claims);
        assert_eq!(account.in_flight.load(Ordering::SeqCst), 0);
    }
}
