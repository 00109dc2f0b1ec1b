//! Choosing a target and a key.
