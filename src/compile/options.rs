//! What the process that compiles allows.

/// What the process allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Plain http, loopback and private addresses.
    pub allow_private_endpoints: bool,
}
