//! Tests: support/mod.
