//! Tests of the rules, one a rule.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy {
        least: 1,
        most: 100,
        in_flight_per_replica: 10,
        first_token: Some(SECOND),
        cold_start: SECOND * 60,
        calm: SECOND * 300,
    }
}

fn reading(in_flight: u64, queued: u64) -> Reading {
    Reading { in_flight, queued, answered: 2, proxies: 2, ..Reading::default() }
}

/// Reads the same every second for so long and decides each time; the last decision.
fn steady(
    scaler: &mut Scaler,
    policy: &Policy,
    reading: Option<Reading>,
    current: &mut u32,
    (start, seconds): (Instant, u32),
) -> Decision {
    let mut last = None;
    for second in 0..seconds {
        let now = start + SECOND * second;
        scaler.read(reading, now);
        let decision = scaler.decide(policy, *current, now);
        *current = decision.desired;
        last = Some(decision);
    }
    last.unwrap()
}

#[test]
fn demand_is_absolute_whatever_there_is() {
    let now = Instant::now();
    for current in [1, 5, 9] {
        let mut scaler = Scaler::default();
        scaler.read(Some(reading(60, 30)), now);
        let decision = scaler.decide(&policy(), current, now);
        // Nine are enough; a rise is limited to twice as many or four more.
        assert_eq!(decision.desired, 9.min((current * 2).max(current + 4)), "{decision:?}");
    }
}

#[test]
fn one_who_waits_at_zero_starts_a_replica_at_once() {
    let (now, policy) = (Instant::now(), Policy { least: 0, ..policy() });
    let mut scaler = Scaler::default();
    scaler.read(Some(reading(0, 0)), now);
    assert_eq!(scaler.decide(&policy, 0, now).desired, 0);
    scaler.read(Some(reading(0, 1)), now + SECOND);
    let decision = scaler.decide(&policy, 0, now + SECOND);
    assert_eq!((decision.desired, decision.reason), (1, Reason::FromZero));
}

#[test]
fn no_data_holds_and_is_never_taken_for_nobody() {
    let (start, policy) = (Instant::now(), policy());
    let (mut scaler, mut current) = (Scaler::default(), 8);
    steady(&mut scaler, &policy, Some(reading(80, 0)), &mut current, (start, 400));
    assert_eq!(current, 8);
    let gone = steady(&mut scaler, &policy, None, &mut current, (start + SECOND * 400, 600));
    assert_eq!((gone.desired, gone.reason), (8, Reason::NoData));
    let unheard = Scaler::default().decide(&policy, 7, start);
    assert_eq!((unheard.desired, unheard.reason), (7, Reason::NoData));
}

#[test]
fn after_an_outage_of_the_numbers_calm_begins_anew() {
    let policy = policy();
    let some = Some(Reading { answered: 1, ..reading(20, 0) });
    for outage in [None, some] {
        let (mut start, mut scaler, mut current) = (Instant::now(), Scaler::default(), 8);
        for (read, seconds) in [(Some(reading(80, 0)), 900), (outage, 600)] {
            steady(&mut scaler, &policy, read, &mut current, (start, seconds));
            start += SECOND * seconds;
        }
        let back = Some(reading(0, 0));
        let waits = steady(&mut scaler, &policy, back, &mut current, (start, 299));
        assert_eq!((waits.desired, waits.reason), (8, Reason::WaitingForCalm), "{outage:?}");
        start += SECOND * 299;
        let falls = steady(&mut scaler, &policy, back, &mut current, (start, 5));
        assert_eq!(falls.desired, 7, "{outage:?}");
    }
}

#[test]
fn a_moment_without_an_answer_is_not_a_moment_without_requests() {
    let (start, policy) = (Instant::now(), Policy { calm: SECOND * 10, ..policy() });
    let (mut scaler, mut current) = (Scaler::default(), 8);
    steady(&mut scaler, &policy, Some(reading(80, 0)), &mut current, (start, 100));
    // Twenty seconds: the last reading is not too old, but none is of the last six.
    let quiet = steady(&mut scaler, &policy, None, &mut current, (start + SECOND * 100, 20));
    assert_eq!((quiet.desired, quiet.reason), (8, Reason::Demand));
}

#[test]
fn half_of_the_proxies_may_raise_and_never_lower() {
    let (start, policy) = (Instant::now(), policy());
    let half = |in_flight| Some(Reading { answered: 1, ..reading(in_flight, 0) });
    let (mut scaler, mut current) = (Scaler::default(), 8);
    steady(&mut scaler, &policy, Some(reading(80, 0)), &mut current, (start, 400));
    let lower = steady(&mut scaler, &policy, half(20), &mut current, (start + SECOND * 400, 600));
    assert_eq!((lower.desired, lower.reason), (8, Reason::SomeUnread));
    let more = steady(&mut scaler, &policy, half(120), &mut current, (start + SECOND * 1000, 60));
    assert_eq!(more.desired, 12);
}

#[test]
fn quiet_lowers_after_the_calm_by_a_tenth_a_minute() {
    let (start, policy) = (Instant::now(), policy());
    let (mut scaler, mut current) = (Scaler::default(), 20);
    steady(&mut scaler, &policy, Some(reading(200, 0)), &mut current, (start, 100));
    let quiet = start + SECOND * 100;
    let waits = steady(&mut scaler, &policy, Some(reading(5, 0)), &mut current, (quiet, 290));
    assert_eq!((waits.desired, waits.reason), (20, Reason::WaitingForCalm));
    let falls = steady(
        &mut scaler,
        &policy,
        Some(reading(5, 0)),
        &mut current,
        (quiet + SECOND * 290, 130),
    );
    assert!((16..20).contains(&falls.desired), "{falls:?}");
    let low = steady(
        &mut scaler,
        &policy,
        Some(reading(5, 0)),
        &mut current,
        (quiet + SECOND * 420, 3600),
    );
    assert_eq!(low.desired, 1);
}

#[test]
fn late_first_tokens_of_full_replicas_add_one_and_of_idle_ones_none() {
    let (start, policy) = (Instant::now(), policy());
    let late = |in_flight, queued| {
        Some(Reading { first_token: Some((SECOND * 3, 50)), ..reading(in_flight, queued) })
    };
    let (mut scaler, mut current) = (Scaler::default(), 4);
    let full = steady(&mut scaler, &policy, late(40, 0), &mut current, (start, 30));
    assert_eq!((full.desired, full.reason), (5, Reason::LateFirstTokens));
    let (mut scaler, mut current) = (Scaler::default(), 4);
    let idle = steady(&mut scaler, &policy, late(31, 0), &mut current, (start, 30));
    assert_eq!((idle.desired, idle.reason), (4, Reason::LateWithoutLoad));
    let few = Some(Reading { first_token: Some((SECOND * 3, 49)), ..reading(40, 0) });
    let (mut scaler, mut current) = (Scaler::default(), 4);
    assert_eq!(steady(&mut scaler, &policy, few, &mut current, (start, 30)).desired, 4);
}

#[test]
fn bounds_hold_and_say_so() {
    let now = Instant::now();
    let policy = Policy { least: 2, most: 6, ..policy() };
    let mut scaler = Scaler::default();
    scaler.read(Some(reading(500, 0)), now);
    let most = scaler.decide(&policy, 5, now);
    assert_eq!((most.desired, most.reason), (6, Reason::AtMost));
    let least = Scaler::default();
    let (mut scaler, mut current) = (least, 1);
    let few = steady(&mut scaler, &policy, Some(reading(1, 0)), &mut current, (now, 1));
    assert_eq!((few.desired, few.reason), (2, Reason::AtLeast));
}

proptest! {
    /// Whatever is read and whenever: within the bounds, and never below what is in flight but where
    /// the bounds or a slow rise say so.
    #[test]
    fn never_below_what_is_in_flight(
        readings in prop::collection::vec((0_u64..500, 0_u64..50, 1_u32..3, 1_u64..90), 1..200),
    ) {
        let (policy, mut now) = (Policy { calm: SECOND * 10, ..policy() }, Instant::now());
        let (mut scaler, mut current) = (Scaler::default(), 3);
        for (in_flight, queued, answered, pause) in readings {
            now += SECOND * u32::try_from(pause).unwrap();
            let read = Reading { answered, proxies: 2, ..reading(in_flight, queued) };
            scaler.read(Some(read), now);
            let decision = scaler.decide(&policy, current, now);
            prop_assert!((policy.least..=policy.most).contains(&decision.desired));
            if decision.desired < current {
                prop_assert_eq!(answered, 2);
                let needed = (in_flight + queued).div_ceil(10);
                prop_assert!(u64::from(decision.desired) >= needed.min(100), "{:?} {}", decision, needed);
            }
            current = decision.desired;
        }
    }
}

#[test]
fn what_other_targets_serve_for_want_of_a_replica_is_asked_for_too() {
    let (start, policy) = (Instant::now(), policy());
    let (mut scaler, mut current) = (Scaler::default(), 2);
    let busy = Reading { arrived: 5.0, ended: 5.0, ..reading(20, 0) };
    steady(&mut scaler, &policy, Some(busy), &mut current, (start, 300));
    assert_eq!(current, 2);
    // Four seconds a request: five more a second are twenty more at a time.
    let full = Some(Reading { passed_over: 5.0, ..busy });
    steady(&mut scaler, &policy, full, &mut current, (start + SECOND * 300, 120));
    assert_eq!(current, 4);
    let (mut asleep, mut none) = (Scaler::default(), 0);
    let elsewhere = Some(Reading { passed_over: 2.0, ..reading(0, 0) });
    let wakes = steady(&mut asleep, &policy, elsewhere, &mut none, (start, 1));
    assert_eq!((wakes.desired, wakes.reason), (1, Reason::FromZero));
}
