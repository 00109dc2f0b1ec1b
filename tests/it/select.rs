//! Tests: select.
