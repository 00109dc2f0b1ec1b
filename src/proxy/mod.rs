//! The path of a request.

pub mod listener;
pub mod upstream;
