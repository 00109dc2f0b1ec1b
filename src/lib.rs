//! Trunkline: one API in front of every model provider, declared with `kubectl`.
//!
//! The flow, in the names of the rooms: resources come in through [`api`], are joined in [`compile`],
//! live in [`table`], are used by [`proxy`]. [`dialect`], [`provider`] and [`select`] are the pure
//! knowledge that both sides share; [`files`] brings manifests from a folder, [`control`] resources
//! from a cluster; [`observe`] counts and tells; [`sim`] plays the providers; [`app`] wires each
//! subcommand.
//!
//! ```text
//!  files ──► compile ──► table ──► proxy ──► providers
//!             ▲  api      │  ▲       │
//!             │           │  │       ├── select   which target, which key
//!             └ provider ─┘  └───────┴── dialect  how it is said
//! ```
//!
//! Who may name whom is a rule (`ARCHITECTURE.md`) and a test (`tests/it/architecture.rs`).

pub mod api;
pub mod app;
pub mod autoscale;
mod backoff;
pub mod compile;
pub mod control;
pub mod dialect;
pub mod files;
pub mod observe;
pub mod provider;
pub mod proxy;
pub mod select;
pub mod sim;
pub mod source;
pub mod spend;
pub mod table;
mod words;
