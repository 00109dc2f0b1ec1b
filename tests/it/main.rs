//! The one integration binary: it links once.

mod architecture;
mod check;
mod observe;
mod select;
