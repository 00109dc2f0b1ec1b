//! Routes as the compiler would make them, without the rest of a manifest.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use trunkline::{
    dialect::Traits,
    provider::{self, Pricing, Schedule},
    select::{Health, Healths, KeyState, KeyStates},
    table::{
        Access, Choosing, Credential, Endpoint, Failover, FailoverOn, Key, Match, ObjectId,
        Overrides, Quota, Route, Secret, Target, Timeouts,
    },
};

/// The first-token limit of every target.
pub const FIRST_TOKEN: Duration = Duration::from_secs(10);

/// A route and what is known of its targets: nothing.
#[derive(Debug)]
pub struct Fresh {
    pub route: Route,
    pub keys: Vec<Arc<[Arc<KeyState>]>>,
    pub health: Vec<Arc<Health>>,
}

/// A route with so many targets, which cost what `pricing` says.
pub fn fresh(
    count: usize,
    choosing: Choosing,
    pricing: impl Fn(usize) -> Option<Pricing>,
    now: Instant,
) -> Fresh {
    let targets: Vec<_> = (0..count).map(|at| target(at, pricing(at))).collect();
    let (keys, healths) = (KeyStates::new(now), Healths::new(now));
    let route = Route {
        id: ObjectId::new("bench", "chat"),
        created: 0,
        models: Vec::new(),
        matches: Match::default(),
        precedence: 0,
        access: Access::of_namespace(&"bench".into()),
        choosing,
        failover: Failover {
            max_attempts: 3,
            total_budget: Duration::from_secs(30),
            on: FailoverOn::ALL.into_iter().collect(),
        },
        paused: false,
        targets,
    };
    Fresh {
        keys: route.targets.iter().map(|target| keys.of(&target.credential)).collect(),
        health: route.targets.iter().map(|target| healths.of(target)).collect(),
        route,
    }
}

fn target(at: usize, pricing: Option<Pricing>) -> Arc<Target> {
    let key = Key {
        name: "k".into(),
        secret: Secret::new("secret").unwrap(),
        weight: 1,
        cooldown_rate_limited: Duration::from_secs(30),
        cooldown_rejected: Duration::from_mins(10),
    };
    let credential = Credential {
        id: ObjectId::new("bench", format!("c{at}")),
        provider: provider::find("OpenAI").unwrap(),
        endpoint: Endpoint {
            tls: true,
            host: "api.openai.com".into(),
            port: 443,
            base_path: "/v1".into(),
            ca: None,
            server_name: None,
            service: false,
        },
        keys: vec![key],
        quota: Quota::default(),
        tiers: Schedule::default(),
    };
    let second = Duration::from_secs(1);
    Arc::new(Target {
        name: format!("t{at}").into(),
        credential: Arc::new(credential),
        model: "m".into(),
        traits: Traits::default(),
        tier: 0,
        weight: 100,
        quality: None,
        ability: provider::Ability::default(),
        pricing: pricing.map(Arc::new),
        timeouts: Timeouts {
            connect: second,
            headers: FIRST_TOKEN,
            first_token: FIRST_TOKEN,
            stream_idle: second * 15,
            total: second * 600,
        },
        overrides: Overrides::default(),
    })
}
