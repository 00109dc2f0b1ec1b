//! Tests: crds.
