//! What a choice is made among, and for what.

use std::sync::Arc;

use super::{
    account::Account,
    backend::Backend,
    belonging::Belonging,
    health::{Health, Lane},
    keys::KeyState,
    needs::Needs,
    spillover::SpillState,
};
use crate::table::{Preference, Route};

/// The keys of each target of a route, in the order of `route.targets`.
pub type RouteKeys = [Arc<[Arc<KeyState>]>];

/// A route and what is known of its targets, in the order of `route.targets`.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The route.
    pub route: &'a Route,
    /// The states of each target's keys.
    pub keys: &'a RouteKeys,
    /// What is known of each target.
    pub health: &'a [Arc<Health>],
    /// The pods of each target whose credential names a Service.
    pub backends: &'a [Option<Arc<Backend>>],
    /// The account of each target whose credential has a quota.
    pub accounts: &'a [Option<Arc<Account>>],
    /// The state of each target that can be full.
    pub spills: &'a [Option<Arc<SpillState>>],
}

impl<'a> Targets<'a> {
    /// A route without Services, accounts and full tiers.
    pub const fn new(route: &'a Route, keys: &'a RouteKeys, health: &'a [Arc<Health>]) -> Self {
        Self { route, keys, health, backends: &[], accounts: &[], spills: &[] }
    }

    /// The state of a target that can be full.
    pub(super) fn spill(&self, at: usize) -> Option<&SpillState> {
        self.spills.get(at)?.as_deref()
    }

    /// The account of a target whose credential has a quota.
    pub(super) fn account(&self, at: usize) -> Option<&Account> {
        self.accounts.get(at)?.as_deref()
    }

    /// The pods of a target whose credential names a Service.
    pub(super) fn backend(&self, at: usize) -> Option<&Backend> {
        self.backends.get(at)?.as_deref()
    }
}

/// What a request is, as far as the choice is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Whether it is streamed.
    pub lane: Lane,
    /// Its input tokens, estimated.
    pub input_tokens: u32,
    /// The output tokens to expect.
    pub output_tokens: u32,
    /// What it needs of a model.
    pub needs: Needs,
    /// What matters most to the caller.
    pub preference: Option<Preference>,
    /// With what it belongs together, where the route minds.
    pub belonging: Option<Belonging>,
}

impl Ask {
    /// The tokens to expect, input and output together.
    pub fn tokens(&self) -> u64 {
        u64::from(self.input_tokens) + u64::from(self.output_tokens)
    }
}
