//! The choice of a target and a key in the long run: shares, order of failover, several cores.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

use proptest::prelude::*;
use tokio::time::Instant;
use trunkline::{
    dialect::Traits,
    provider::{self, Schedule},
    select::{Ask, Healths, KeyState, KeyStates, Lane, Needs, Pick, Targets, Tried, choose},
    table::{
        Access, Choosing, Credential, Endpoint, Failover, FailoverSet, Key, Match, ObjectId,
        Overrides, Quota, Route, Secret, Target, Timeouts,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// What the choice looks at: tier, weight, and the weights of the keys.
type Row = (u8, u32, Vec<u32>);

fn target(at: usize, (tier, weight, keys): &Row) -> Arc<Target> {
    let key = |(at, weight): (usize, &u32)| Key {
        name: format!("k{at}").into(),
        secret: Secret::new("secret").unwrap(),
        weight: *weight,
        cooldown_rate_limited: SECOND,
        cooldown_rejected: SECOND,
    };
    let credential = Credential {
        id: ObjectId::new("team", format!("c{at}")),
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
        keys: keys.iter().enumerate().map(key).collect(),
        quota: Quota::default(),
        tiers: Schedule::default(),
    };
    Arc::new(Target {
        name: format!("t{at}").into(),
        credential: Arc::new(credential),
        model: "m".into(),
        traits: Traits::default(),
        ability: provider::Ability::default(),
        pricing: None,
        tier: *tier,
        weight: *weight,
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

fn route(rows: &[Row], now: Instant) -> (Route, Vec<Arc<[Arc<KeyState>]>>) {
    let targets: Vec<_> = rows.iter().enumerate().map(|(at, row)| target(at, row)).collect();
    let states = KeyStates::new(now);
    let keys = targets.iter().map(|target| states.of(&target.credential)).collect();
    let route = Route {
        id: ObjectId::new("team", "chat"),
        created: 0,
        models: Vec::new(),
        matches: Match::default(),
        precedence: 0,
        access: Access::of_namespace(&"team".into()),
        targets,
        choosing: Choosing::default(),
        failover: Failover { max_attempts: 3, total_budget: SECOND, on: FailoverSet::default() },
        paused: false,
    };
    (route, keys)
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
    let ask = Ask {
        lane: Lane::Streamed,
        input_tokens: 100,
        output_tokens: 100,
        needs: Needs::NONE,
        preference: None,
        belonging: None,
    };
    choose(Targets::new(route, keys, &health), &ask, tried, now, random)
}

/// How far drawn shares are from the wanted ones: Pearson's chi-square.
fn chi_square(drawn: &[u32], weights: &[u32]) -> f64 {
    let draws: f64 = drawn.iter().map(|count| f64::from(*count)).sum();
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let wanted = weights.iter().map(|weight| draws * f64::from(*weight) / total);
    drawn
        .iter()
        .zip(wanted)
        .map(|(drawn, wanted)| (f64::from(*drawn) - wanted).powi(2) / wanted)
        .sum()
}

/// 27.9 is passed once in 1000 by chance with nine degrees of freedom; the seed is fixed.
#[test]
fn shares_are_those_of_the_weights_in_the_long_run() {
    const WEIGHTS: [u32; 10] = [1, 2, 3, 5, 8, 13, 100, 250, 1_000, 5_000];
    let now = Instant::now();
    let targets: Vec<Row> = WEIGHTS.iter().map(|weight| (0, *weight, Vec::new())).collect();
    let (by_target, no_keys) = route(&targets, now);
    let (by_key, keys) = route(&[(0, 1, WEIGHTS.to_vec())], now);
    let mut rng = fastrand::Rng::with_seed(42);
    let mut drawn = [[0_u32; WEIGHTS.len()]; 2];
    // The statistic holds where the lightest weight is expected five times or more; here 16 times.
    for _ in 0..100_000 {
        let mut random = || rng.f64();
        let target = pick(&by_target, &no_keys, &Tried::default(), now, &mut random).unwrap();
        drawn[0][target.target] += 1;
        let key = pick(&by_key, &keys, &Tried::default(), now, &mut random).unwrap().key.unwrap();
        drawn[1][key.at] += 1;
    }
    for drawn in drawn {
        let distance = chi_square(&drawn, &WEIGHTS);
        assert!(distance < 27.9, "{distance}: {drawn:?}");
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let keys = proptest::collection::vec(0_u32..3, 0..4);
    proptest::collection::vec((0_u8..4, 0_u32..3, keys), 0..7)
}

proptest! {
    /// A request that fails everywhere walks through all that may serve it, tier by tier, each
    /// choice once; resting keys come last; and it ends.
    #[test]
    fn a_request_that_fails_everywhere_has_tried_all_once_and_in_order(
        rows in rows(), resting in any::<u64>(), by_key in any::<bool>(), seed in any::<u64>(),
    ) {
        let now = Instant::now();
        let (route, keys) = route(&rows, now);
        for (at, state) in keys.iter().flat_map(|keys| keys.iter()).enumerate() {
            if resting >> (at % 64) & 1 == 1 {
                state.rest_until(now + SECOND * u32::try_from(at + 1).unwrap());
            }
        }
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut tried, mut seen) = (Tried::default(), BTreeSet::new());
        let mut last = (false, 0, now);
        while let Some(pick) = pick(&route, &keys, &tried, now, &mut || rng.f64()) {
            let (tier, weight, own_keys) = &rows[pick.target];
            prop_assert!(*weight > 0, "a drained target serves");
            prop_assert_eq!(pick.key.is_some(), !own_keys.is_empty(), "a key is missing or odd");
            let at = pick.key.as_ref().map(|key| key.at);
            prop_assert!(seen.insert((pick.target, at)), "chosen twice: {:?}", (pick.target, at));
            let until = pick.key.as_ref().map_or(now, |key| key.state.rests_until()).max(now);
            let rests = until > now;
            // Those that rest in order of their rest, whatever their tier.
            let place = if rests { (true, 0, until) } else { (false, *tier, now) };
            prop_assert!(place >= last, "{place:?} after {last:?}");
            last = place;
            match &pick.key {
                Some(key) if by_key => tried.key(key),
                _ => tried.target(pick.target),
            }
        }
        let reached: BTreeSet<usize> = seen.iter().map(|(target, _)| *target).collect();
        let open: BTreeSet<usize> =
            rows.iter().enumerate().filter(|(_, row)| row.1 > 0).map(|(at, _)| at).collect();
        prop_assert_eq!(reached, open);
        if by_key {
            let choices = rows.iter().filter(|row| row.1 > 0).map(|row| row.2.len().max(1));
            prop_assert_eq!(seen.len(), choices.sum::<usize>());
        }
    }
}

/// Cores let keys rest and wake while others choose: nobody is ever left without an answer or
/// without a key.
#[test]
fn cores_that_disagree_about_keys_always_find_one() {
    let now = Instant::now();
    let (route, keys) = route(&[(0, 1, vec![1, 1]), (1, 1, vec![1, 1])], now);
    let disturb = |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..200_000 {
            let state = &keys[rng.usize(..2)][rng.usize(..2)];
            if rng.bool() { state.rest_until(now + SECOND) } else { state.wake() }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| disturb(1));
        scope.spawn(|| disturb(2));
        let mut rng = fastrand::Rng::with_seed(9);
        for _ in 0..200_000 {
            let pick = pick(&route, &keys, &Tried::default(), now, &mut || rng.f64());
            assert!(pick.unwrap().key.is_some());
        }
    });
}
