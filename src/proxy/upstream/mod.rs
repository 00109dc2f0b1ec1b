//! Connections to providers.
