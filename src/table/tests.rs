//! What must hold for every table that is written and read.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection, prelude::*};

use super::{
    arbitrary::{parts, two},
    base::{MOST_BYTES, Refused, Unreadable, inflate, pack},
    head::BaseRef,
    overlay::Overlay,
    publish::{Plan, plan},
    *,
};
use crate::{
    dialect::Traits,
    provider::{Ability, Schedule},
};

const FRESH: Stamp = Stamp { epoch: 1, revision: 0 };

fn token() -> Token {
    Token::new([7; 32])
}

/// A head that makes `table` of `base`.
fn head(base: &Contents, table: &Contents) -> Head {
    Head {
        stamp: Stamp { epoch: 1, revision: 2 },
        base: Some(BaseRef { slot: Slot::A, hash: base.encode().unwrap().hash }),
        token: token(),
        overlay: Overlay::between(base, table).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_written_is_read(parts in parts()) {
        let contents = parts.contents();
        let written = contents.encode().unwrap();
        let (read, hash) = Contents::decode(&written.bytes).unwrap();
        prop_assert_eq!(&read, &*contents);
        prop_assert_eq!(&hash, &written.hash);
        prop_assert_eq!(read.table(1), parts.table(1));
        prop_assert_eq!(read.encode().unwrap(), written);
    }

    #[test]
    fn base_and_overlay_make_the_table((base, table) in two()) {
        let (base, table) = (base.contents(), table.contents());
        let written = head(&base, &table).encode().unwrap();
        let (read, _) = Head::decode(&written.bytes).unwrap();
        let made = read.apply(&base, &base.encode().unwrap().hash).unwrap();
        prop_assert_eq!(&made, &*table);
        prop_assert_eq!(base == table, read.overlay.is_empty());
    }

    /// A worker keeps what it knows of a route beside the route, as long as it is the same one.
    #[test]
    fn an_overlay_shares_what_did_not_change((base, table) in two()) {
        let (base, table) = (base.contents(), table.contents());
        let made = Overlay::between(&base, &table).unwrap().apply(&base).unwrap();
        for (id, route) in &base.routes {
            if let Some(same) = made.routes.get(id).filter(|same| *same == route) {
                prop_assert!(Arc::ptr_eq(same, route), "{}", id);
            }
        }
    }

    /// Nothing that stands in a Secret can bring a proxy down.
    #[test]
    fn damaged_bytes_are_refused_or_read_and_never_more(
        (base, table) in two(),
        at in any::<prop::sample::Index>(),
        put in collection::vec(any::<u8>(), 0..4),
    ) {
        let (base, table) = (base.contents(), table.contents());
        let head = head(&base, &table);
        for packed in [base.encode().unwrap().bytes, head.encode().unwrap().bytes] {
            let damage = |bytes: &[u8]| {
                let mut damaged = bytes.to_vec();
                let at = at.index(damaged.len());
                damaged.splice(at..(at + put.len()).min(bytes.len()), put.iter().copied());
                damaged
            };
            read(&damage(&packed), &base);
            // Below the checksum of the compression.
            let text = inflate(&packed, 1 << 20).unwrap();
            read(&packed_again(&damage(&text)), &base);
        }
    }
}

/// Reads bytes as both kinds, and uses what comes out.
fn read(bytes: &[u8], base: &Contents) {
    if let Ok((contents, hash)) = Contents::decode(bytes) {
        let _table = contents.table(1);
        assert_eq!(contents.encode().is_ok(), !hash.as_str().is_empty());
    }
    if let Ok((head, _)) = Head::decode(bytes)
        && let Some(own) = &head.base
        && let Ok(contents) = head.apply(base, &own.hash)
    {
        let _table = contents.table(head.stamp.revision);
    }
}

fn packed_again(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

/// A table with one credential and as many routes to it as asked for.
fn table(routes: usize) -> Table {
    let credential = |secret: &str| {
        Arc::new(Credential {
            id: ObjectId::new("team", "openai"),
            provider: crate::provider::find("OpenAI").unwrap(),
            endpoint: Endpoint {
                tls: true,
                host: "api.openai.com".into(),
                port: 443,
                base_path: "/v1".into(),
                ca: None,
                server_name: None,
                service: false,
            },
            keys: vec![Key {
                name: "k1".into(),
                secret: Secret::new(secret).unwrap(),
                weight: 1,
                cooldown_rate_limited: std::time::Duration::from_secs(1),
                cooldown_rejected: std::time::Duration::from_secs(1),
            }],
            quota: Quota::default(),
            tiers: Schedule::default(),
        })
    };
    let second = std::time::Duration::from_secs(1);
    let credential = credential("sk-canary");
    let route = |at| Route {
        id: ObjectId::new("team", format!("route-{at}")),
        created: 0,
        models: vec![Pattern::parse(&format!("model-{at}"))],
        matches: Match::default(),
        precedence: 0,
        access: Access::of_namespace(&"team".into()),
        targets: vec![Arc::new(Target {
            name: "only".into(),
            credential: Arc::clone(&credential),
            model: "gpt".into(),
            traits: Traits::default(),
            ability: Ability::default(),
            pricing: None,
            tier: 0,
            weight: 1,
            quality: None,
            timeouts: Timeouts {
                connect: second,
                headers: second,
                first_token: second,
                stream_idle: second,
                total: second,
            },
            overrides: Overrides::default(),
        })],
        choosing: Choosing::default(),
        failover: Failover { max_attempts: 1, total_budget: second, on: FailoverSet::default() },
        paused: false,
    };
    Table::new(1, (0..routes).map(route).collect())
}

#[test]
fn a_credential_is_written_once_for_all_its_targets() {
    let [one, many] = [1, 50].map(|routes| Contents::of(&table(routes)).unwrap());
    let secrets = |contents: &Contents| {
        let text = inflate(&contents.encode().unwrap().bytes, 1 << 20).unwrap();
        String::from_utf8(text).unwrap().matches("sk-canary").count()
    };
    assert_eq!((secrets(&one), secrets(&many)), (1, 1));
    let (read, _) = Contents::decode(&many.encode().unwrap().bytes).unwrap();
    let table = read.table(1);
    let first = &table.routes()[0].targets[0].credential;
    assert!(table.routes().iter().all(|route| Arc::ptr_eq(&route.targets[0].credential, first)));
}

#[test]
fn a_rotated_key_is_one_small_change() {
    let before = Contents::of(&table(50)).unwrap();
    let mut after = before.clone();
    let rotated = Credential {
        keys: Vec::new(),
        quota: Quota::default(),
        tiers: Schedule::default(),
        ..Credential::clone(&before.credentials[&ObjectId::new("team", "openai")])
    };
    let overlay = Overlay::between(&before, &{
        let changed = BTreeMap::from([(rotated.id.clone(), Arc::new(rotated))]);
        for route in after.routes.values_mut() {
            let targets = route.targets.iter().map(|target| {
                let credential = Arc::clone(&changed[&target.credential.id]);
                Arc::new(Target { credential, ..Target::clone(target) })
            });
            *route = Arc::new(Route { targets: targets.collect(), ..Route::clone(route) });
        }
        after.credentials = changed;
        after.clone()
    })
    .unwrap();
    assert!(overlay.len() < 1024, "{}", overlay.len());
    assert_eq!(overlay.apply(&before).unwrap(), after);
}

#[test]
fn what_is_too_large_is_refused_and_nothing_is_left_out() {
    let noise: String = (0..MOST_BYTES).map(|_| fastrand::alphanumeric()).collect();
    let refused = pack(&[&noise, &noise]).unwrap_err();
    assert!(matches!(refused, Refused::TooLarge(bytes) if bytes > MOST_BYTES), "{refused}");
}

#[test]
fn ten_thousand_routes_fit() {
    let bytes = Contents::of(&table(2_000)).unwrap().encode().unwrap().bytes.len();
    assert!(5 * bytes < MOST_BYTES / 2, "{bytes}");
}

#[test]
fn few_bytes_cannot_claim_to_be_gigabytes() {
    let bomb = packed_again(&[b' '; 4096]);
    assert!(bomb.len() < 64);
    assert!(matches!(inflate(&bomb, 4095), Err(Unreadable::Endless)));
    assert_eq!(inflate(&bomb, 4096).unwrap().len(), 4096);
}

/// Design rule: a key goes to its provider only, whoever wrote the Secret.
#[test]
fn a_key_for_a_foreign_host_is_refused() {
    let table = table(1);
    let good = Contents::of(&table).unwrap();
    let id = ObjectId::new("team", "openai");
    let own = Credential::clone(&good.credentials[&id]);
    let endpoint = Endpoint { host: "evil.example".into(), ..own.endpoint.clone() };
    let mut bad = good.clone();
    bad.credentials.insert(id, Arc::new(Credential { endpoint, ..own }));
    let read = Contents::decode(&bad.encode().unwrap().bytes);
    assert!(matches!(read, Err(Unreadable::ForeignHost(_))));
    let read = Overlay::between(&good, &bad).unwrap().apply(&good);
    assert!(matches!(read, Err(Unreadable::ForeignHost(_))));
}

#[test]
fn an_unknown_format_and_an_unknown_provider_are_named_and_no_key_is() {
    let read =
        |text: &str| Contents::decode(&packed_again(text.as_bytes())).unwrap_err().to_string();
    assert!(read(r#"{"format":2}"#).contains("format is 2"));
    assert!(read("{").contains("EOF"));
    let text = r#"{"format":1,"routes":{},"credentials":{"a/b":{"id":"a/b","provider":"Nobody"}}}"#;
    assert!(read(text).contains("`Nobody` is not known here"), "{}", read(text));
    let text = r#"{"format":1,"routes":{},"credentials":"sk-\"canary"}"#;
    assert!(!read(text).contains("canary"), "{}", read(text));
}

#[test]
fn only_a_later_epoch_or_revision_is_later() {
    let stamp = |epoch, revision| Stamp { epoch, revision };
    assert!(stamp(2, 1) > stamp(1, 9));
    assert!(stamp(1, 9) > stamp(1, 8));
}

#[test]
fn a_late_leader_is_told_that_its_epoch_is_over() {
    let contents = Arc::new(Contents::of(&table(1)).unwrap());
    let Plan::Head(next) = plan(None, &contents, FRESH, &token()).unwrap() else {
        panic!("nothing is there, so the first step is a head without a base")
    };
    let other = Arc::new(Contents::default());
    let late = Stamp { epoch: 0, revision: 7 };
    let refused = plan(Some(&next), &other, late, &token()).unwrap_err();
    assert_eq!(refused, Refused::Superseded { ours: 0, theirs: 1 });
}

#[test]
fn a_deleted_head_is_followed_by_a_higher_one() {
    let contents = Arc::new(Contents::default());
    let last = Stamp { epoch: 3, revision: 41 };
    let Plan::Head(next) = plan(None, &contents, last, &token()).unwrap() else {
        panic!("no head: the first step is one without a base")
    };
    assert_eq!(next.head.stamp, Stamp { epoch: 3, revision: 42 });
}

#[test]
fn a_token_admits_only_itself() {
    let token = token();
    assert_eq!(token.expose().len(), 64);
    assert!(token.admits(token.expose().as_bytes()));
    assert!(!token.admits(b"") && !token.admits(&token.expose().as_bytes()[1..]));
    let empty: Token = serde_json::from_str("\"\"").unwrap();
    assert!(!empty.admits(b""));
    assert!(!format!("{token:?}").contains(token.expose()));
}
