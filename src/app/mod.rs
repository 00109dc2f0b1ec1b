//! Wiring of each subcommand.
