//! What Kubernetes' own autoscaler would do with the same numbers: the baseline.
//!
//! Source: the `HorizontalPodAutoscaler`'s documentation, algorithm and default behaviour.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;
use trunkline::autoscale::Reading;

use super::{PER_REPLICA, world::Decides};

/// How often it looks.
const SYNC: Duration = Duration::from_secs(15);

/// How far off the target it does nothing.
const TOLERANCE: f64 = 0.1;

/// How long fewer must have been enough.
const SETTLE: Duration = Duration::from_mins(5);

/// A `HorizontalPodAutoscaler` with its defaults, on the mean of requests in flight and waiting.
#[derive(Debug, Default)]
pub struct Hpa {
    looked: Option<Instant>,
    wanted: VecDeque<(Instant, u32)>,
}

impl Decides for Hpa {
    fn desired(&mut self, reading: Reading, current: u32, now: Instant) -> u32 {
        if self.looked.is_some_and(|at| now < at + SYNC) || reading.answered == 0 {
            return current;
        }
        self.looked = Some(now);
        let held = (reading.in_flight + reading.queued) as f64;
        let share = held / f64::from(current * PER_REPLICA).max(1.0);
        let wanted = if (share - 1.0).abs() <= TOLERANCE {
            current
        } else {
            ((held / f64::from(PER_REPLICA)).ceil() as u32).clamp(1, 100)
        };
        self.wanted.push_back((now, wanted));
        self.wanted.retain(|(at, _)| now <= *at + SETTLE);
        let settled = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        if wanted > current {
            wanted.min((current * 2).max(current + 4))
        } else {
            settled.min(current)
        }
    }
}
