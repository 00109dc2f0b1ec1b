//! The path of a request from end to end in one process: a proxy of one worker, between clients on
//! real sockets and providers that play what a test tells them.
//!
//! Each test is one promise of the request path. Times are real and short, because sockets do not
//! follow a paused clock; no test waits for a time to pass that it does not also measure.

#![cfg(test)]

mod affinity;
mod backends;
mod choice;
mod failover;
mod harness;
mod limits;
mod manners;
mod quota;
mod streams;
