//! The one integration binary: it links once.

mod architecture;
mod check;
mod listener;
mod observe;
mod select;
mod upstream;
