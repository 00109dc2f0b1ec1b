//! The operator: everything that talks with the API server.
//!
//! ```text
//!  watch ─► index ─► compile ─► publish ─► proxies
//!            │          │                     │
//!            └ status ◄─┴──────── acks ◄──────┘
//! ```
//!
//! Watches feed an [`index`] that holds what `compile` looks at; what changed is compiled and
//! published; the proxies are asked what they run; each object's status says what became of it. Only
//! the holder of the [`lease`] writes, and a second one that believes it holds the lease could do no
//! harm: every write of the table carries the version that it replaces, and an epoch.
//!
//! IO stands at the edges (`watch`, `publish`, `acks`, `status::apply`, `lease`); what decides is
//! pure and takes the clock as an argument.

mod about;
mod acks;
mod autoscale;
pub mod client;
mod events;
#[cfg(test)]
mod fake;
pub mod index;
mod keys;
pub mod kind;
mod known;
pub mod lease;
mod line;
mod named;
pub mod object;
mod operator;
pub mod pace;
pub mod progress;
pub mod publish;
mod slices;
pub mod spend;
pub mod status;
pub mod watch;

pub use self::operator::{Settings, run};
