//! What a play of scaling came to: how late, how far over, how restless.

use std::collections::BTreeMap;

use super::world::Played;

/// First tokens are judged by slices of so many seconds.
const SLICE: f64 = 5.0;

/// What a play came to between two times.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The most replicas that were asked for.
    pub most: u32,
    /// How often the number went the other way.
    pub reversals: usize,
    /// How often it was lowered below what was in flight.
    pub below: usize,
    /// Until when first tokens were late for more than one of twenty, or somebody was refused.
    pub late_until: f64,
    pub refused: usize,
}

/// Looks at a play from one time to another. `slo` is in seconds.
pub fn figures(played: &Played, (from, to): (f64, f64), per_replica: u32, slo: f64) -> Figures {
    let looks = played.looks.iter().filter(|look| (from..to).contains(&look.at));
    let looks: Vec<_> = looks.copied().collect();
    let changes = looks.windows(2).map(|two| i64::from(two[1].desired) - i64::from(two[0].desired));
    let signs: Vec<_> = changes.filter(|change| *change != 0).map(i64::signum).collect();
    let below = looks.windows(2).filter(|two| {
        let needed = two[1].in_flight.div_ceil(per_replica as usize);
        two[1].desired < two[0].desired && (two[1].desired as usize) < needed
    });
    let mut slices: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    let mut refused = 0;
    let within = played.requests.iter().filter(|request| (from..to).contains(&request.arrived));
    for request in within {
        let (all, late) = slices.entry((request.arrived / SLICE) as u64).or_default();
        *all += 1;
        *late += usize::from(request.first_token.is_none_or(|took| took > slo));
        refused += usize::from(request.first_token.is_none());
    }
    let late = slices.iter().filter(|(_, (all, late))| late * 20 > *all);
    Figures {
        most: looks.iter().map(|look| look.desired).max().unwrap_or(0),
        reversals: signs.windows(2).filter(|two| two[0] != two[1]).count(),
        below: below.count(),
        late_until: late.map(|(slice, _)| (slice + 1) as f64 * SLICE).fold(from, f64::max),
        refused,
    }
}
