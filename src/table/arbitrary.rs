//! Tables for property tests: few names, so that two tables often speak of the same things.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use proptest::{collection, option, prelude::*, sample};

use super::{
    Access, Affinity, AffinityBy, Backend, Choosing, CircuitBreaker, Consumer, ConsumerKey,
    Consumers, Contents, Credential, Digest, Endpoint, Failover, FailoverOn, HeaderMatch,
    HeaderTest, Hedge, Key, Match, Namespaces, ObjectId, Overrides, Pattern, Preference, Prices,
    Queue, Quota, Route, Secret, Shares, Slo, Spillover, Table, Target, Timeouts, choosing,
};
use crate::{
    dialect::{Api, Traits, traits::Thinking},
    provider::{Ability, NanoDollars, PROVIDERS, Price, Pricing, Schedule, Tier},
};

/// What a table is made of, with credentials by name: two of these can be mixed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    consumers: BTreeMap<ObjectId, Consumer>,
    backends: BTreeMap<ObjectId, Backend>,
    credentials: BTreeMap<ObjectId, Credential>,
    /// Each target with its place among the credentials.
    routes: BTreeMap<ObjectId, (Route, Vec<(Target, sample::Index)>)>,
    proxies: u32,
    prices: Prices,
}

impl Parts {
    /// The table.
    pub(crate) fn table(&self, revision: u64) -> Table {
        let credentials: Vec<_> = self.credentials.values().cloned().map(Arc::new).collect();
        let routes = self.routes.values().map(|(route, targets)| {
            let bind = |(target, at): &(Target, sample::Index)| {
                let credential = Arc::clone(at.get(&credentials));
                Arc::new(Target { credential, ..target.clone() })
            };
            let targets = if credentials.is_empty() { &[][..] } else { targets };
            Route { targets: targets.iter().map(bind).collect(), ..route.clone() }
        });
        let consumers = self.consumers.values().cloned().map(Arc::new);
        let backends = self.backends.clone().into_iter();
        let backends = backends.map(|(id, backend)| (id, Arc::new(backend))).collect();
        Table::new(revision, routes.collect())
            .with_consumers(Consumers::new(consumers))
            .with_backends(backends)
            .with_proxies(self.proxies)
            .with_prices(self.prices.clone())
    }

    /// The table, taken apart.
    pub(crate) fn contents(&self) -> Arc<Contents> {
        Arc::new(Contents::of(&self.table(1)).unwrap())
    }

    /// Each thing from `self` or from `other`, as the coins fall.
    fn mixed(&self, other: &Self, coins: &[bool]) -> Self {
        fn mix<V: Clone>(
            a: &BTreeMap<ObjectId, V>,
            b: &BTreeMap<ObjectId, V>,
            coins: &[bool],
        ) -> BTreeMap<ObjectId, V> {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            let choose = |(id, coin): (&ObjectId, &bool)| {
                let from = if *coin { a } else { b };
                Some((id.clone(), from.get(id)?.clone()))
            };
            names.into_iter().zip(coins.iter().cycle()).filter_map(choose).collect()
        }
        Self {
            consumers: mix(&self.consumers, &other.consumers, coins),
            backends: mix(&self.backends, &other.backends, coins),
            credentials: mix(&self.credentials, &other.credentials, coins),
            routes: mix(&self.routes, &other.routes, coins),
            prices: mix(&self.prices, &other.prices, coins),
            proxies: if coins.first() == Some(&true) { self.proxies } else { other.proxies },
        }
    }
}

/// Any table's parts.
pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let credentials = collection::btree_map(id(), credential(), 0..4);
    let targets = collection::vec((target(), any::<sample::Index>()), 0..4);
    let routes = collection::btree_map(id(), (route(), targets), 0..8);
    let consumers = collection::btree_map(id(), consumer(), 0..4);
    let backends = collection::btree_map(id(), backend(), 0..4);
    let prices = collection::btree_map(id(), any::<u32>(), 0..3);
    (consumers, backends, credentials, routes, any::<u32>(), prices).prop_map(
        |(consumers, backends, credentials, routes, proxies, prices)| {
            let named = |(id, consumer)| (ObjectId::clone(&id), Consumer { id, ..consumer });
            let consumers = consumers.into_iter().map(named).collect();
            let named = |(id, credential)| (ObjectId::clone(&id), Credential { id, ..credential });
            let credentials = credentials.into_iter().map(named).collect();
            let named =
                |(id, (route, targets))| (ObjectId::clone(&id), (Route { id, ..route }, targets));
            Parts {
                consumers,
                backends,
                credentials,
                routes: routes.into_iter().map(named).collect(),
                proxies,
                prices,
            }
        },
    )
}

/// Two tables' parts that share some.
pub(crate) fn two() -> impl Strategy<Value = (Parts, Parts)> {
    (parts(), parts(), collection::vec(any::<bool>(), 16)).prop_map(|(a, b, coins)| {
        let mixed = a.mixed(&b, &coins);
        (a, mixed)
    })
}

fn id() -> impl Strategy<Value = ObjectId> {
    ("[ab]", "[w-z]").prop_map(|(namespace, name)| ObjectId::new(namespace, name))
}

fn nobody() -> ObjectId {
    ObjectId::new("", "")
}

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,6}".prop_map(Arc::from)
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|millis| Duration::from_millis(millis.into()))
}

fn credential() -> impl Strategy<Value = Credential> {
    let key = ("[a-z]{1,3}", "[!-~]{1,12}", any::<u32>(), duration(), duration());
    let key = key.prop_map(|(name, secret, weight, limited, rejected)| Key {
        name: name.into(),
        secret: Secret::new(&secret).unwrap(),
        weight,
        cooldown_rate_limited: limited,
        cooldown_rejected: rejected,
    });
    let endpoint = (
        any::<bool>(),
        "[a-z]{1,6}",
        any::<u16>(),
        text(),
        option::of(collection::vec(any::<u8>(), 0..6)),
        option::of(text()),
        any::<bool>(),
    );
    let provider = sample::select(PROVIDERS.iter().collect::<Vec<_>>());
    let limit = || any::<u64>().prop_map(NonZeroU64::new);
    let quota = (limit(), limit(), limit()).prop_map(|limits| Quota {
        max_concurrent: limits.0,
        requests_per_minute: limits.1,
        tokens_per_minute: limits.2,
    });
    let tiers = any::<u16>().prop_map(|above| {
        let above = NanoDollars(u64::from(above) + 1);
        Schedule::new(vec![Tier { above, permille: 1200 }]).unwrap_or_default()
    });
    (provider, endpoint, collection::vec(key, 0..3), (quota, tiers)).prop_map(
        |(provider, endpoint, keys, (quota, tiers))| {
            let (tls, host, port, base_path, ca, server_name, service) = endpoint;
            Credential {
                id: nobody(),
                provider,
                endpoint: Endpoint {
                    tls,
                    host: provider.hosts.first().map_or_else(|| host.into(), |own| Arc::from(*own)),
                    port,
                    base_path,
                    ca: ca.map(Arc::from),
                    server_name,
                    service: service && provider.hosts.is_empty(),
                },
                keys,
                quota,
                tiers,
            }
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    let thinking =
        sample::select(vec![Thinking::Always, Thinking::Budget, Thinking::Effort, Thinking::None]);
    let traits = (any::<[bool; 11]>(), thinking, any::<u64>());
    let timeouts = [(); 5].map(|()| duration());
    let overrides = (collection::vec((text(), text()), 0..2), collection::vec(text(), 0..2));
    let owned = |text: Arc<str>| text.to_string();
    let pricing = option::of([(); 2].map(|()| 0..=1_000_000_000_000_u64).prop_map(|prices| {
        let [input, output] = prices.map(Price::of_millionths);
        Arc::new(Pricing::plain(input, output))
    }));
    let share = (any::<u32>(), pricing, option::of(any::<u32>()));
    (text(), text(), traits, any::<u8>(), share, timeouts, overrides).prop_map(
        move |(name, model, (flags, thinking, most), tier, share, timeouts, (set, remove))| {
            let (weight, pricing, quality) = share;
            Target {
                name,
                credential: Arc::new(Credential {
                    id: nobody(),
                    provider: &PROVIDERS[0],
                    endpoint: Endpoint {
                        tls: true,
                        host: "".into(),
                        port: 0,
                        base_path: "".into(),
                        ca: None,
                        server_name: None,
                        service: false,
                    },
                    keys: Vec::new(),
                    quota: Quota::default(),
                    tiers: Schedule::default(),
                }),
                model,
                ability: Ability::default(),
                pricing,
                traits: Traits {
                    sampling: flags[0],
                    forced_tool_choice: flags[1],
                    mid_system: flags[2],
                    json_schema: flags[3],
                    thinking,
                    max_completion_tokens: flags[4],
                    developer_role: flags[5],
                    thought_signatures: flags[6],
                    full_json_schema: flags[7],
                    prefill: flags[8],
                    stop_texts: flags[9],
                    json_beside_tools: flags[10],
                    max_output_tokens: most,
                },
                tier,
                weight,
                quality,
                timeouts: Timeouts {
                    connect: timeouts[0],
                    headers: timeouts[1],
                    first_token: timeouts[2],
                    stream_idle: timeouts[3],
                    total: timeouts[4],
                },
                overrides: Overrides {
                    set: set.into_iter().map(|(name, value)| (owned(name), owned(value))).collect(),
                    remove: remove.into_iter().map(owned).collect(),
                },
            }
        },
    )
}

fn choosing() -> impl Strategy<Value = Choosing> {
    let shares = any::<[u32; 5]>().prop_map(|[cost, first_token, per_token, load, quality]| {
        choosing::Strategy::Balanced(Shares { cost, first_token, per_token, load, quality })
    });
    let strategy = prop_oneof![
        shares,
        Just(choosing::Strategy::Cheapest),
        Just(choosing::Strategy::Fastest),
        Just(choosing::Strategy::LeastBusy),
        Just(choosing::Strategy::Weighted),
    ];
    let slo = (option::of(duration()), option::of(duration()), option::of(any::<u32>()));
    let slo = slo.prop_map(|(first_token, per_output_token, success_per_10k)| Slo {
        first_token,
        per_output_token,
        success_per_10k,
    });
    let breaker = (any::<[u32; 3]>(), [(); 3].map(|()| duration()));
    let breaker = breaker.prop_map(|(counts, [cooldown, max_cooldown, ramp_up])| CircuitBreaker {
        consecutive_failures: counts[0],
        failure_percent: counts[1],
        min_requests: counts[2],
        cooldown,
        max_cooldown,
        ramp_up,
    });
    let hedge = (option::of(duration()), any::<u32>());
    let hedge =
        option::of(hedge.prop_map(|(after, budget_percent)| Hedge { after, budget_percent }));
    let queue = (any::<u32>(), duration()).prop_map(|(most, wait)| Queue { most, wait });
    let by = prop_oneof![
        Just(AffinityBy::Conversation),
        "x-[a-z]{1,3}".prop_map(|name| AffinityBy::Header(name.parse().unwrap())),
        any::<u32>().prop_map(AffinityBy::Prefix),
    ];
    let affinity = (by, any::<u32>());
    let affinity = affinity.prop_map(|(by, tolerance_percent)| Affinity { by, tolerance_percent });
    let affinity = option::of(affinity);
    let spillover = (any::<u32>(), any::<u32>(), duration()).prop_map(
        |(in_flight_per_pod, return_below_percent, hold_for)| Spillover {
            in_flight_per_pod,
            return_below_percent,
            hold_for,
        },
    );
    let lines = (queue, option::of(spillover));
    (strategy, any::<u32>(), slo, affinity, breaker, hedge, lines).prop_map(
        |(strategy, tolerance_percent, slo, affinity, breaker, hedge, (queue, spillover))| {
            Choosing {
                strategy,
                tolerance_percent,
                slo,
                affinity,
                breaker,
                hedge,
                queue,
                spillover,
            }
        },
    )
}

fn backend() -> impl Strategy<Value = Backend> {
    let pod = (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
    collection::btree_set(pod, 0..4).prop_map(|pods| Backend { pods })
}

fn consumer() -> impl Strategy<Value = Consumer> {
    let key = ("[a-z]{1,3}", "[!-~]{16,20}").prop_map(|(name, key)| ConsumerKey {
        name: name.into(),
        digest: Digest::of_key(&key).unwrap(),
    });
    let preference = option::of(sample::select(vec![
        Preference::Balanced,
        Preference::Economy,
        Preference::Quality,
        Preference::Speed,
    ]));
    (collection::vec(text(), 0..2), preference, collection::vec(key, 0..3))
        .prop_map(|(groups, preference, keys)| Consumer { id: nobody(), groups, preference, keys })
}

fn access() -> impl Strategy<Value = Access> {
    let these = collection::btree_set(text(), 0..2).prop_map(Namespaces::These);
    let namespaces = prop_oneof![Just(Namespaces::All), these];
    let named = || collection::btree_set(id(), 0..2);
    (any::<bool>(), namespaces, named(), named()).prop_map(
        |(anonymous, namespaces, consumers, groups)| Access {
            anonymous,
            namespaces,
            consumers,
            groups,
        },
    )
}

fn route() -> impl Strategy<Value = Route> {
    let pattern = "\\*?[a-c]{0,2}\\*?".prop_map(|text| Pattern::parse(&text));
    let test = prop_oneof![
        text().prop_map(HeaderTest::Exact),
        text().prop_map(HeaderTest::Prefix),
        Just(HeaderTest::Present)
    ];
    let header = ("x-[a-z]{1,3}", test)
        .prop_map(|(name, test)| HeaderMatch { name: name.parse().unwrap(), test });
    let matches = (sample::subsequence(&Api::ALL[..], 0..=2), collection::vec(header, 0..2));
    let on = sample::subsequence(&FailoverOn::ALL[..], 0..=FailoverOn::ALL.len());
    let failover = ((1..=u32::MAX, duration(), on), choosing());
    let rank = (any::<u64>(), any::<i32>());
    (rank, collection::vec(pattern, 0..3), matches, access(), failover, any::<bool>()).prop_map(
        |((created, precedence), models, (apis, headers), access, (failover, choosing), paused)| {
            Route {
                id: nobody(),
                created,
                models,
                matches: Match { apis, headers },
                precedence,
                access,
                targets: Vec::new(),
                choosing,
                failover: Failover {
                    max_attempts: failover.0,
                    total_budget: failover.1,
                    on: failover.2.into_iter().collect(),
                },
                paused,
            }
        },
    )
}
