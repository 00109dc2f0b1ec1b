//! Tests of the choice: each builds the smallest route that shows its rule.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::*;
use crate::{
    dialect::Traits,
    provider::{self, Capability, NanoDollars, Price, Pricing, Schedule, Tier},
    table::{
        Access, Choosing, Credential, Endpoint, Failover, FailoverSet, Key, Match, ObjectId,
        Overrides, Quota, Route, Secret, Spillover, Strategy, Table, Target, Timeouts,
    },
};

const SECOND: Duration = Duration::from_secs(1);

const ASK: Ask = Ask {
    lane: Lane::Streamed,
    input_tokens: 100,
    output_tokens: 100,
    needs: Needs::NONE,
    preference: None,
    belonging: None,
};

fn target(name: &str, tier: u8, weight: u32, keys: &[(&str, u32)]) -> Arc<Target> {
    let keys = keys
        .iter()
        .map(|(key, weight)| Key {
            name: (*key).into(),
            secret: Secret::new("k").unwrap(),
            weight: *weight,
            cooldown_rate_limited: SECOND,
            cooldown_rejected: SECOND,
        })
        .collect();
    let endpoint = Endpoint {
        tls: true,
        host: "api.openai.com".into(),
        port: 443,
        base_path: "".into(),
        ca: None,
        server_name: None,
        service: false,
    };
    let provider = provider::find("OpenAI").unwrap();
    let id = ObjectId::new("team", name);
    Arc::new(Target {
        name: name.into(),
        credential: Arc::new(Credential {
            id,
            provider,
            endpoint,
            keys,
            quota: Quota::default(),
            tiers: Schedule::default(),
        }),
        model: "m".into(),
        traits: Traits::default(),
        ability: provider::Ability::default(),
        pricing: None,
        tier,
        weight,
        quality: None,
        timeouts: Timeouts {
            connect: SECOND,
            headers: SECOND,
            first_token: SECOND,
            stream_idle: SECOND,
            total: SECOND,
        },
        overrides: Overrides::default(),
    })
}

fn route(targets: Vec<Arc<Target>>) -> Route {
    Route {
        id: ObjectId::new("team", "r"),
        created: 0,
        models: vec![],
        matches: Match::default(),
        precedence: 0,
        access: Access::of_namespace(&"team".into()),
        targets,
        choosing: Choosing::default(),
        failover: Failover { max_attempts: 3, total_budget: SECOND, on: FailoverSet::default() },
        paused: false,
    }
}

/// A route with the states of its keys.
fn resting(states: &KeyStates, now: Instant) -> usize {
    states.all(now).iter().filter(|(_, _, standing)| *standing == Standing::Resting).count()
}

fn with_keys(targets: Vec<Arc<Target>>, now: Instant) -> (Route, Vec<Arc<[Arc<KeyState>]>>) {
    let states = KeyStates::new(now);
    let keys = targets.iter().map(|target| states.of(&target.credential)).collect();
    (route(targets), keys)
}

/// The choice of a stream when nothing is known of the targets.
fn pick(
    route: &Route,
    keys: &[Arc<[Arc<KeyState>]>],
    tried: &Tried,
    now: Instant,
    random: &mut dyn FnMut() -> f64,
) -> Option<Pick> {
    let healths = Healths::new(now);
    let health: Vec<_> = route.targets.iter().map(|target| healths.of(target)).collect();
    choose(Targets::new(route, keys, &health), &ASK, tried, now, random)
}

fn count(
    route: &Route,
    keys: &RouteKeys,
    tried: &Tried,
    now: Instant,
) -> std::collections::BTreeMap<(usize, Option<usize>), u32> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..10_000 {
        let pick = pick(route, keys, tried, now, &mut || rng.f64()).unwrap();
        *counts.entry((pick.target, pick.key.map(|key| key.at))).or_default() += 1;
    }
    counts
}

/// A target with a model of these abilities.
fn able(name: &str, tier: u8, capabilities: &[Capability], context: u64) -> Arc<Target> {
    let mut target = Arc::unwrap_or_clone(target(name, tier, 1, &[]));
    target.ability = provider::Ability {
        capabilities: Some(capabilities.iter().copied().collect()),
        context_tokens: Some(context),
        max_output_tokens: Some(1000),
    };
    target.model = name.into();
    Arc::new(target)
}

#[test]
fn a_model_that_cannot_serve_the_request_is_never_asked_and_a_lesser_one_only_without_a_better() {
    use Capability::{Reasoning, Tools, Vision};
    let now = Instant::now();
    let (route, keys) = with_keys(
        vec![
            able("plain", 0, &[], 1_000),
            able("tools", 0, &[Tools], 1_000),
            able("all", 0, &[Reasoning, Tools], 100_000),
            target("unknown", 1, 1, &[]),
        ],
        now,
    );
    let healths = Healths::new(now);
    let health: Vec<_> = route.targets.iter().map(|target| healths.of(target)).collect();
    let targets = Targets::new(&route, &keys, &health);
    let served = |must: &[Capability], better: &[Capability], output_tokens, text_bytes| {
        let needs = Needs {
            must: must.iter().copied().collect(),
            better: better.iter().copied().collect(),
            output_tokens,
            text_bytes,
        };
        let (lane, preference) = (Lane::Whole, None);
        let ask =
            Ask { lane, input_tokens: 1, output_tokens: 1, needs, preference, belonging: None };
        let found = consider(targets, &ask, &Tried::default(), now);
        let may = found.candidates.iter().filter(|one| one.is_eligible());
        may.map(|one| &*route.targets[one.at].name).collect::<Vec<_>>()
    };
    assert_eq!(served(&[], &[], None, 1), ["plain", "tools", "all"]);
    assert_eq!(served(&[Tools], &[], None, 1), ["tools", "all"]);
    assert_eq!(served(&[Tools], &[Reasoning], None, 1), ["all"]);
    // A higher tier is not asked for what would only be better.
    assert_eq!(served(&[], &[Capability::ParallelTools], None, 1), ["plain", "tools", "all"]);
    assert_eq!(served(&[], &[], Some(1001), 1), ["plain", "tools", "all"]);
    assert_eq!(served(&[], &[], None, 6_000), ["all"]);
    assert_eq!(served(&[Vision], &[], None, 1), ["unknown"]);
    // What providers tell of the length of a token counts as soon as it is known.
    let mut flight =
        Flight::begin(Arc::clone(&health[2]), route.choosing.breaker, Lane::Whole, 1, false, now);
    flight.measured(1_000_000, 10_000, now);
    assert_eq!(served(&[], &[], None, 2_000_000), ["all"]);
    assert_eq!(served(&[], &[], None, 20_000_000), ["unknown"]);
}

#[test]
fn traffic_is_shared_by_weight_within_the_lowest_tier() {
    let now = Instant::now();
    let (route, keys) = with_keys(
        vec![target("c", 1, 1000, &[]), target("a", 0, 75, &[]), target("b", 0, 25, &[])],
        now,
    );
    let counts = count(&route, &keys, &Tried::default(), now);
    assert_eq!(counts.len(), 2);
    // Three standard deviations of 10,000 draws.
    assert!(counts[&(1, None)].abs_diff(7_500) < 130, "{counts:?}");
}

#[test]
fn a_tried_target_gives_way_to_the_next_tier_and_a_drained_one_never_serves() {
    let now = Instant::now();
    let (route, keys) = with_keys(
        vec![target("a", 0, 1, &[]), target("drained", 0, 0, &[]), target("b", 3, 1, &[])],
        now,
    );
    let mut tried = Tried::default();
    tried.target(0);
    assert_eq!(count(&route, &keys, &tried, now).into_keys().collect::<Vec<_>>(), [(2, None)]);
    tried.target(2);
    assert!(pick(&route, &keys, &tried, now, &mut || 0.0).is_none());
}

#[test]
fn keys_share_by_weight_and_a_resting_one_is_passed_over() {
    let now = Instant::now();
    let (route, keys) = with_keys(vec![target("a", 0, 1, &[("k1", 1), ("k2", 3)])], now);
    let counts = count(&route, &keys, &Tried::default(), now);
    assert!(counts[&(0, Some(1))].abs_diff(7_500) < 130, "{counts:?}");
    keys[0][1].rest_until(now + SECOND);
    assert_eq!(count(&route, &keys, &Tried::default(), now).len(), 1);
    let later = now + 2 * SECOND;
    assert_eq!(count(&route, &keys, &Tried::default(), later).len(), 2);
}

#[test]
fn a_target_whose_keys_all_rest_gives_way_to_a_higher_tier() {
    let now = Instant::now();
    let (route, keys) =
        with_keys(vec![target("a", 0, 1, &[("k", 1)]), target("b", 1, 1, &[("k", 1)])], now);
    keys[0][0].rest_until(now + SECOND);
    let picked = pick(&route, &keys, &Tried::default(), now, &mut || 0.0).unwrap();
    assert_eq!(picked.target, 1);
}

#[test]
fn when_every_key_rests_the_shortest_rest_is_broken() {
    let now = Instant::now();
    let (route, keys) =
        with_keys(vec![target("a", 0, 1, &[("k", 1)]), target("b", 1, 1, &[("k", 1)])], now);
    keys[0][0].rest_until(now + 9 * SECOND);
    keys[1][0].rest_until(now + 3 * SECOND);
    let picked = pick(&route, &keys, &Tried::default(), now, &mut || 0.0).unwrap();
    assert_eq!(picked.target, 1);
}

#[test]
fn a_refused_key_is_not_used_again_for_the_request_even_when_all_rest() {
    let now = Instant::now();
    let (route, keys) = with_keys(vec![target("a", 0, 1, &[("k", 1)])], now);
    let mut tried = Tried::default();
    let picked = pick(&route, &keys, &tried, now, &mut || 0.0).unwrap();
    tried.key(&picked.key.unwrap());
    assert!(pick(&route, &keys, &tried, now, &mut || 0.0).is_none());
}

#[test]
fn what_was_learned_of_a_key_outlives_the_table() {
    let now = Instant::now();
    let states = KeyStates::new(now);
    let old = states.of(&target("a", 0, 1, &[("k", 1)]).credential);
    old[0].rest_until(now + SECOND);
    let new = states.of(&target("a", 0, 1, &[("k", 1), ("l", 1)]).credential);
    assert!(Arc::ptr_eq(&old[0], &new[0]));
    assert_eq!(resting(&states, now), 1);
    new[0].wake();
    assert_eq!(resting(&states, now), 0);
}

#[test]
fn a_key_that_was_replaced_under_its_old_name_does_not_rest() {
    let now = Instant::now();
    let states = KeyStates::new(now);
    let old = target("a", 0, 1, &[("k", 1)]);
    states.of(&old.credential)[0].rest_until(now + SECOND);
    let mut credential = (*old.credential).clone();
    credential.keys[0].secret = Secret::new("replaced").unwrap();
    let replaced = Arc::new(Target { credential: Arc::new(credential), ..(*old).clone() });
    let rests = |target: &Target| states.of(&target.credential)[0].rests_until() > now;
    assert!(!rests(&replaced));
    assert!(rests(&old), "requests of the old table still know what they learned");
    let table = Table::new(2, vec![route(vec![Arc::clone(&replaced)])]);
    states.retain(&table);
    assert!(!rests(&old), "the old secret is forgotten with its table");
}

#[test]
fn keys_of_a_removed_credential_are_forgotten() {
    let now = Instant::now();
    let states = KeyStates::new(now);
    states.of(&target("gone", 0, 1, &[("k", 1)]).credential);
    let kept = target("kept", 0, 1, &[("k", 1)]);
    states.of(&kept.credential)[0].rest_until(now + SECOND);
    states.retain(&Table::new(1, vec![route(vec![kept])]));
    let id = ObjectId::new("team", "kept");
    assert_eq!(states.all(now), [(id, "k".into(), Standing::Resting)]);
}

/// Another core may let a key rest between the choice of its target and its own.
#[test]
fn a_key_that_begins_to_rest_during_the_choice_is_still_sent() {
    let now = Instant::now();
    let two = |name| target(name, 0, 1, &[("k", 1)]);
    let (route, keys) = with_keys(vec![two("a"), two("b")], now);
    let mut meanwhile = || {
        keys[0][0].rest_until(now + SECOND);
        keys[1][0].rest_until(now + SECOND);
        0.0
    };
    let picked = pick(&route, &keys, &Tried::default(), now, &mut meanwhile).unwrap();
    assert_eq!(picked.key.unwrap().at, 0);
}

#[test]
fn a_balanced_route_serves_each_caller_by_what_matters_to_it() {
    use crate::{
        provider::{Price, Pricing},
        table::{Preference, Shares, Strategy},
    };
    let now = Instant::now();
    let rated = |name: &str, dollars: u64, quality| {
        let mut target = Arc::unwrap_or_clone(target(name, 0, 1, &[]));
        let price = Price::of_millionths(dollars * 1_000_000);
        target.pricing = Some(Arc::new(Pricing::plain(price, price)));
        target.quality = quality;
        Arc::new(target)
    };
    let rows = vec![
        rated("cheap", 1, Some(60)),
        rated("good", 60, Some(97)),
        rated("quick", 10, Some(75)),
        // Nobody says how good it is, so it counts as the worst.
        rated("unrated", 2, None),
    ];
    let (mut route, keys) = with_keys(rows, now);
    route.choosing.strategy =
        Strategy::Balanced(Shares { cost: 1, first_token: 0, per_token: 0, load: 0, quality: 0 });
    let healths = Healths::new(now);
    let health: Vec<_> = route.targets.iter().map(|target| healths.of(target)).collect();
    for (health, millis) in health.iter().zip([2_000, 2_000, 150, 2_000]) {
        let (breaker, lane) = (route.choosing.breaker, Lane::Streamed);
        let mut flight = Flight::begin(Arc::clone(health), breaker, lane, 100, false, now);
        flight.answered(now + Duration::from_millis(millis));
    }
    let targets = Targets::new(&route, &keys, &health);
    let serves = |preference| {
        let ask = Ask { preference, ..ASK };
        let later = now + 3 * SECOND;
        let picked = choose(targets, &ask, &Tried::default(), later, &mut || 0.5).unwrap();
        route.targets[picked.target].name.to_string()
    };
    assert_eq!(serves(None), "cheap", "the route's own word");
    assert_eq!(serves(Some(Preference::Economy)), "cheap");
    assert_eq!(serves(Some(Preference::Quality)), "good");
    assert_eq!(serves(Some(Preference::Speed)), "quick");
}

#[test]
fn an_account_beyond_a_spend_tier_is_as_dear_as_its_next_dollar() {
    let now = Instant::now();
    let tier = Tier { above: NanoDollars(1), permille: 1500 };
    let priced = |name: &str, millionths| {
        let mut target = Arc::unwrap_or_clone(target(name, 0, 1, &[]));
        let price = Price::of_millionths(millionths);
        target.pricing = Some(Arc::new(Pricing::plain(price, price)));
        target
    };
    let mut contract = priced("contract", 1_000_000);
    Arc::make_mut(&mut contract.credential).tiers = Schedule::new(vec![tier]).unwrap();
    let mut route = route(vec![Arc::new(contract), Arc::new(priced("reseller", 1_250_000))]);
    route.choosing =
        Choosing { strategy: Strategy::Cheapest, tolerance_percent: 0, ..Choosing::default() };
    let (keys, healths, all) = (KeyStates::new(now), Healths::new(now), Accounts::new(now));
    let keys: Vec<_> = route.targets.iter().map(|target| keys.of(&target.credential)).collect();
    let health: Vec<_> = route.targets.iter().map(|target| healths.of(target)).collect();
    let accounts: Vec<_> = route.targets.iter().map(|it| all.of(&it.credential)).collect();
    let targets = Targets { accounts: &accounts, ..Targets::new(&route, &keys, &health) };
    let cheapest = || choose(targets, &ASK, &Tried::default(), now, &mut || 0.0).unwrap().target;
    let id = ObjectId::new("team", "contract");
    assert_eq!(cheapest(), 0);
    for (permille, serves) in [(1200, 0), (1500, 1), (1000, 0)] {
        all.set_prices(&[(id.clone(), permille)].into());
        assert_eq!(cheapest(), serves, "at {permille}");
    }
}

#[test]
fn a_full_target_spills_over_to_the_next_tier_and_serves_when_nobody_else_may() {
    let now = Instant::now();
    let mut route = route(vec![target("own", 0, 1, &[]), target("hosted", 1, 1, &[])]);
    route.choosing.spillover =
        Some(Spillover { in_flight_per_pod: 2, return_below_percent: 60, hold_for: 30 * SECOND });
    let (keys, healths, all) = (KeyStates::new(now), Healths::new(now), SpillStates::new(now));
    let keys: Vec<_> = route.targets.iter().map(|target| keys.of(&target.credential)).collect();
    let health: Vec<_> = route.targets.iter().map(|target| healths.of(target)).collect();
    let spills: Vec<_> = route.targets.iter().map(|target| all.of(&route, target)).collect();
    assert!(spills[0].is_some() && spills[1].is_none(), "nothing spills from the last tier");
    let targets = Targets { spills: &spills, ..Targets::new(&route, &keys, &health) };
    let serves = |tried: &Tried, seconds: u32| {
        let pick = choose(targets, &ASK, tried, now + seconds * SECOND, &mut || 0.0).unwrap();
        &*route.targets[pick.target].name
    };
    let breaker = route.choosing.breaker;
    let send = |at: usize| {
        let known = Arc::clone(&health[at]);
        let mut flight = Flight::begin(known, breaker, Lane::Streamed, 100, false, now);
        flight.answered(now);
        flight
    };
    let none = Tried::default();
    let first = send(0);
    assert_eq!(serves(&none, 0), "own");
    let second = send(0);
    assert_eq!(serves(&none, 1), "hosted");
    let mut hosted = Tried::default();
    hosted.target(1);
    assert_eq!(serves(&hosted, 1), "own", "better than nobody");
    drop(first);
    assert_eq!(serves(&none, 30), "hosted", "it has room, and not for long enough");
    assert_eq!(serves(&none, 31), "own");
    drop(second);
    let table = Table::new(1, vec![route.clone()]);
    let told: Vec<_> = all.all(&table, now).into_iter().map(|it| (it.full, it.spilled)).collect();
    assert_eq!(told, [(true, 2)], "at that time");
    all.retain(&Table::new(2, Vec::new()));
    assert_eq!(all.all(&table, now)[0].spilled, 0, "a route that comes back begins anew");
}
