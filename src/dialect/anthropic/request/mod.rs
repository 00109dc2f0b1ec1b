//! Requests, read from clients and written for providers.
//!
//! ```text
//!  decode   the fields of a request          encode     the fields of a request
//!  blocks   its messages                     turns      its conversation
//!  sources  its pictures and documents       media      its pictures and documents
//!  fields   how a field is taken           names      what its fields are called here
//!                                            tools      its tools and the form of its answer
//!                                            schema     JSON Schemas that Anthropic takes
//!                                            thinking   how much to think
//!                                            body       the shapes of all that
//! ```
//!
//! Reading is strict, because a mistake that is told at once is cheaper than one that a provider of
//! another dialect tells in its own words. Writing never fails for what can be said in another way.

mod blocks;
mod body;
mod decode;
mod encode;
mod fields;
mod media;
mod names;
mod schema;
mod sources;
mod thinking;
mod tools;
mod turns;

pub use self::{decode::decode, encode::encode, names::own_name};
use crate::dialect::Loss;

/// What a target did not get as the client wrote it, each field once.
#[derive(Debug, Default)]
struct Losses(Vec<Loss>);

impl Losses {
    fn add(&mut self, loss: Loss) {
        if !self.0.contains(&loss) {
            self.0.push(loss);
        }
    }
}
