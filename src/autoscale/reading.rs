//! What was read of the proxies at one moment.

use std::time::Duration;

/// What the proxies said, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that wait for a replica.
    pub queued: u64,
    /// Requests that arrived in each second since the last reading.
    pub arrived: f64,
    /// Requests that ended in each second since the last reading.
    pub ended: f64,
    /// Requests that another target served, in each second since the last reading, because no replica
    /// had a place.
    pub passed_over: f64,
    /// The time in which 95 of 100 first tokens come, of the slowest proxy, and how many it has seen.
    pub first_token: Option<(Duration, u32)>,
    /// Proxies that answered.
    pub answered: u32,
    /// All proxies that there are.
    pub proxies: u32,
}
