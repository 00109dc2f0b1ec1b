//! The path of a request.
pub mod listener;
pub mod retry;
pub mod upstream;
