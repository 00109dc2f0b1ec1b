//! Tests of where requests belong: shares, what moves when a place goes, and when a place loses them.

use std::collections::BTreeMap;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::select::health::Reading;

const IDLE: Reading = Reading {
    first_token: Some(0.5),
    overdue: 0.0,
    per_token: None,
    success: 1.0,
    waiting: 0,
    in_flight: 0,
};

fn belonging(id: u64) -> Belonging {
    Belonging::of([&id.to_le_bytes()[..]], 50)
}

fn owner(places: &[(String, f32)], id: u64) -> String {
    let ranked =
        places.iter().map(|(name, weight)| (belonging(id).rank(name.as_bytes(), *weight), name));
    ranked.max_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap().1.clone()
}

fn places(weights: &[f32]) -> Vec<(String, f32)> {
    weights.iter().enumerate().map(|(at, weight)| (format!("t{at}"), *weight)).collect()
}

#[test]
fn each_place_has_its_share_of_the_conversations() {
    let places = places(&[10.0, 30.0, 60.0]);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for id in 0..10_000 {
        *counts.entry(owner(&places, id)).or_default() += 1;
    }
    // Three standard deviations.
    let counts: Vec<_> = counts.into_values().collect();
    let near = |count: u32, share: u32| count.abs_diff(share) < 150;
    assert!(
        near(counts[0], 1_000) && near(counts[1], 3_000) && near(counts[2], 6_000),
        "{counts:?}"
    );
}

/// Replicas of different versions stand side by side while they are replaced, and agree.
#[test]
fn the_order_is_the_same_in_every_release() {
    let names = ["a", "b", "c", "d"];
    let first = |id: &str| {
        let belonging = Belonging::of([id.as_bytes()], 50);
        let ranked = names.map(|name| (belonging.rank(name.as_bytes(), 100.0), name));
        ranked.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap().1
    };
    let found: String = (0..16).map(|at| first(&format!("conversation-{at}"))).collect();
    assert_eq!(found, "acbddaccaccbbbcc");
}

#[test]
fn parts_are_told_apart() {
    let of = |parts: &[&[u8]]| Belonging::of(parts.iter().copied(), 0).key;
    assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
    assert_ne!(of(&[b"", b"a"]), of(&[b"a", b""]));
}

proptest! {
    #[test]
    fn a_place_that_goes_moves_only_its_own_and_one_that_grows_only_takes(
        weights in prop::collection::vec(1_u16..100, 2..8), gone in any::<prop::sample::Index>(),
        ids in prop::collection::vec(any::<u64>(), 64),
    ) {
        let weights: Vec<f32> = weights.into_iter().map(f32::from).collect();
        let before = places(&weights);
        let gone = gone.index(weights.len());
        let mut without = before.clone();
        without.remove(gone);
        let mut grown = before.clone();
        grown[gone].1 *= 3.0;
        for id in ids {
            let own = owner(&before, id);
            if own == before[gone].0 {
                prop_assert_eq!(owner(&grown, id), own);
            } else {
                prop_assert_eq!(owner(&without, id), own.clone());
                let now = owner(&grown, id);
                prop_assert!(now == own || now == before[gone].0);
            }
        }
    }
}

fn candidate(at: usize, score: f32, reading: Reading) -> Candidate {
    let verdict = Verdict::Eligible { score, speed: 1.0, weight: 100.0 };
    Candidate { at, reading: Some(reading), cost: None, quality: None, verdict }
}

fn held(strategy: Strategy, of: &[(f32, Reading)]) -> Vec<Result<(), Kept>> {
    let rows = of.iter().enumerate().map(|(at, (score, reading))| candidate(at, *score, *reading));
    let candidates = rows.collect();
    let found = Considered { candidates, relaxed: 0, tier: Some(0), fastest: None };
    let limits = Limits::of(strategy, belonging(1), &found);
    found.candidates.iter().map(|one| limits.hold(one)).collect()
}

#[test]
fn a_place_that_is_worse_than_is_tolerated_loses_what_belongs_to_it() {
    let (well, late) = (IDLE, Reading { overdue: 1.0, ..IDLE });
    let scores = [(1.0, well), (1.4, well), (1.6, well)];
    let slow = [Ok(()), Ok(()), Err(Kept::Slow)];
    assert_eq!(held(Strategy::Cheapest, &scores), slow);
    assert_eq!(held(Strategy::Weighted, &scores), [Ok(()); 3], "weights alone decide");
    // A first token that is overdue is as good as late.
    let late = [(1.0, well), (1.0, late)];
    assert_eq!(held(Strategy::Fastest, &late), [Ok(()), Err(Kept::Slow)]);
    // No one minds a few milliseconds.
    let [one, other] = [0.001, 0.04].map(|it| Reading { first_token: Some(it), ..IDLE });
    assert_eq!(held(Strategy::Fastest, &[(1.0, one), (1.0, other)]), [Ok(()), Ok(())]);
    // None has a price: none is dearer than another.
    assert_eq!(held(Strategy::Cheapest, &[(f32::INFINITY, well); 2]), [Ok(()); 2]);
}

#[test]
fn a_place_that_nobody_has_asked_yet_is_not_slow() {
    let unknown = Reading { first_token: None, ..IDLE };
    let quick = Reading { first_token: Some(0.01), ..IDLE };
    assert_eq!(held(Strategy::Fastest, &[(0.0, quick), (0.0, unknown)]), [Ok(()), Ok(())]);
}

#[test]
fn a_place_with_more_than_its_share_loses_the_next_request_and_few_are_never_too_many() {
    let busy = |in_flight| (0.0, Reading { in_flight, ..IDLE });
    assert_eq!(held(Strategy::Weighted, &[busy(3), busy(0), busy(0)]), [Ok(()); 3]);
    assert_eq!(held(Strategy::Weighted, &[busy(4), busy(0), busy(0)])[0], Err(Kept::Busy));
    // 91 in all: half again as many as a third of them are 45.
    assert_eq!(held(Strategy::Weighted, &[busy(44), busy(23), busy(23)])[0], Ok(()));
    assert_eq!(held(Strategy::Weighted, &[busy(46), busy(22), busy(22)])[0], Err(Kept::Busy));
    assert_eq!(held(Strategy::Weighted, &[busy(500)]), [Ok(())], "nobody else is there");
}

#[test]
fn a_pod_has_one_name_in_either_family() {
    let of = |text: &str| pod(text.parse().unwrap());
    assert_eq!(of("10.0.0.1:80"), of("[::ffff:10.0.0.1]:80"));
    assert_ne!(of("10.0.0.1:80"), of("10.0.0.1:81"));
}
