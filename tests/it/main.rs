//! The one integration binary: it links once, and its helpers stand in one place.

mod architecture;
mod check;
mod codec;
mod crds;
mod observe;
mod proxy;
mod run;
mod select;
mod sim;
mod stream;
mod support;
mod upstream;
