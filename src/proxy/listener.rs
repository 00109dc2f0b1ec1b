//! Accepting clients.
