//! Manifests from a folder.
