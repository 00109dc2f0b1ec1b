//! Resources to table.
