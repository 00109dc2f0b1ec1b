//! The path of a request on hyper: one phase a file. Read `service.rs` first.
//!
//! Everything here runs on a worker's own thread and shares nothing with the others but the table.
//! It knows no resource kind and no API server: what it needs of them is in the table already.

mod activity;
pub mod admit;
pub mod affinity;
pub mod attempt;
pub mod authenticate;
pub mod drain;
pub mod error;
pub mod facts;
pub mod failover;
pub mod feed;
pub mod gate;
pub mod head;
pub mod headers;
pub mod listener;
pub mod needs;
pub mod outbound;
pub mod queue;
pub mod race;
pub mod relay;
pub mod retry;
pub mod service;
pub mod settle;
pub mod socket;
pub mod state;
pub mod tls;
pub mod unserved;
pub mod upstream;
pub mod worker;
