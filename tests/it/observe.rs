//! Tests: observe.
