//! The one integration binary: it links once.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on must fail; the exemption for tests leaves out their helpers"
)]

mod architecture;
mod autoscale;
mod chart;
mod check;
mod codec;
mod consumers;
mod crds;
mod listener;
mod observe;
mod proxy;
mod published;
mod select;
mod sim;
mod support;
mod upstream;
