//! The one integration binary: it links once.

mod architecture;
mod check;
mod crds;
mod listener;
mod observe;
mod select;
mod support;
mod upstream;
