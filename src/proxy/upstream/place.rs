//! The places of an HTTP/2 connection that are taken.

use std::{cell::Cell, rc::Rc};

/// How many places of a connection are taken. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(Rc<Cell<usize>>);

impl Taken {
    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.get()
    }

    /// Takes one more.
    pub(super) fn place(&self) -> Place {
        self.0.set(self.0.get() + 1);
        Place(self.clone())
    }
}

/// A place on a connection; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place(Taken);

impl Drop for Place {
    fn drop(&mut self) {
        let Self(Taken(taken)) = self;
        taken.set(taken.get().saturating_sub(1));
    }
}
