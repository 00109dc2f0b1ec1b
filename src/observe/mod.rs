//! What the process tells about itself: metrics, the access log, health, its own log.
//!
//! It names no other room: routes, targets and providers come in as labels, and those come from
//! resources and closed enums, never from a client. Nothing here may slow a request: workers write
//! into cells of their own and into a queue without a lock; scraping, formatting and writing happen
//! on other threads.

pub mod access_log;
pub mod admin;
pub mod cells;
mod exposition;
mod families;
pub mod health;
pub mod operator;
pub mod outcome;
mod samples;
pub mod source;
mod sums;
pub mod telemetry;
pub mod trace;

pub use self::{
    access_log::{AccessLog, Line},
    cells::{
        AffinityResult, Cells, CostKind, FailoverPhase, HedgeResult, RouteCells, TargetCells,
        TokenKind, Unpriced, Waste,
    },
    exposition::{MOST_SERIES, Metrics, Shown},
    health::{Readiness, Waiting},
    outcome::{AttemptOutcome, Outcome},
    samples::{BackendSample, CircuitSample, KeySample, PriceSample, QuotaSample, SpillSample},
};
