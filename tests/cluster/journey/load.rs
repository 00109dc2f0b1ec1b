//! Under a constant load of streams and short requests, nothing that a platform engineer does, and
//! no outage of the control plane, costs one of them.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::{
    APPS, HOME, Installed, KEY, OPERATORS, PROXIES, ask, helm, installed, patch, routes, spec,
};
use crate::{
    Test,
    load::Load,
    support::{Cluster, SOON, eventually, http},
};

pub const TESTS: [Test; 9] = [
    ("journey::load::two_hundred_edits_cost_nothing", two_hundred_edits_cost_nothing),
    ("journey::load::rotated_keys_cost_nothing", rotated_keys_cost_nothing),
    ("journey::load::a_grant_ends_and_returns_within_two_seconds", a_grant_ends_and_returns),
    ("journey::load::scaling_costs_nothing", scaling_costs_nothing),
    ("journey::load::a_rolling_restart_costs_nothing", a_rolling_restart_costs_nothing),
    (
        "journey::load::an_upgrade_and_a_rollback_cost_nothing",
        an_upgrade_and_a_rollback_cost_nothing,
    ),
    ("journey::load::killed_operators_cost_nothing", killed_operators_cost_nothing),
    ("journey::load::a_proxy_starts_without_an_operator", a_proxy_starts_without_an_operator),
    (
        "journey::load::an_api_server_that_is_away_costs_nothing",
        an_api_server_that_is_away_costs_nothing,
    ),
];

/// How long a grant that was taken away may still be used.
const REVOCATION: Duration = Duration::from_secs(2);

/// Does something while applications ask all the time, and counts what they lost.
fn under_load(cluster: &Arc<Cluster>, least: u64, during: impl FnOnce(&'static Installed)) {
    let installed = installed(cluster);
    installed.route("steady", &spec("steady", "first", "sim-tokens-20-pace-10"));
    let load = Load {
        address: installed.address,
        key: KEY.to_owned(),
        model: "steady".to_owned(),
        clients: 4,
        pause: Duration::from_millis(20),
    };
    let load = load.start();
    during(installed);
    load.lost_nothing(least);
}

fn two_hundred_edits_cost_nothing(cluster: &Arc<Cluster>) {
    under_load(cluster, 200, |installed| {
        cluster.block_on(async |client| {
            let routes = routes(client, APPS);
            for edit in 0..200 {
                let target = format!("edit-{edit}");
                let change = spec("steady", &target, "sim-tokens-20-pace-10");
                patch(&routes, "steady", json!({ "spec": change })).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        installed.programmed("steady", SOON);
        for proxy in installed.proxies() {
            let answer = ask(proxy, "steady");
            assert_eq!(answer.target.as_deref(), Some("edit-199"), "{proxy} serves the last edit");
        }
    });
}

fn rotated_keys_cost_nothing(cluster: &Arc<Cluster>) {
    under_load(cluster, 200, |installed| {
        for round in 0..10 {
            let before = revisions(installed);
            let keys = json!({ "stringData": {
                "openai": format!("sk-rotated-{round}"), "openai-2": format!("sk-rotated-too-{round}"),
            }});
            let patch = ["-n", APPS, "patch", "secret", "simulator-keys", "-p", &keys.to_string()];
            cluster.kubectl(&patch).unwrap();
            thread::sleep(Duration::from_secs(2));
            eventually(
                "a table with the new keys",
                SOON,
                || revisions(installed),
                |now| now.iter().zip(&before).all(|(now, before)| now > before),
            );
        }
    });
}

/// The revision of the table that each proxy runs.
fn revisions(installed: &Installed) -> Vec<u64> {
    let revision = |proxy: SocketAddr| {
        let metrics = http::get(SocketAddr::new(proxy.ip(), 9090), "/metrics").unwrap().body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("trunkline_table_revision "));
        line.unwrap().parse().unwrap()
    };
    installed.proxies().into_iter().map(revision).collect()
}

fn a_grant_ends_and_returns(cluster: &Arc<Cluster>) {
    under_load(cluster, 50, |installed| {
        let manifests = installed.quickstart();
        cluster.apply("lender", &manifests).unwrap();
        let allow = |from: &str| {
            let grant = json!({ "spec": { "allowedRoutes": { "namespaces": { "from": from } } } });
            let patch = ["-n", "lender", "patch", "providercredentials.trunkline.dev", "openai"];
            let rest = ["--type=merge", "-p", &grant.to_string()];
            cluster.kubectl(&[&patch[..], &rest].concat()).unwrap();
        };
        allow("All");
        let mut borrowed = spec("borrowed", "only", "sim-tokens-5");
        borrowed["targets"][0]["credentialRef"]["namespace"] = json!("lender");
        installed.route("borrowed", &borrowed);
        let usable = || {
            let proxies = installed.proxies();
            proxies.iter().filter(|proxy| ask(**proxy, "borrowed").status == 200).count()
        };
        assert_eq!(usable(), 2);
        for _ in 0..5 {
            allow("Same");
            eventually("nobody may use it", REVOCATION, usable, |usable| *usable == 0);
            allow("All");
            eventually("everybody may use it", REVOCATION, usable, |usable| *usable == 2);
        }
        cluster.kubectl(&["-n", APPS, "delete", "modelroutes.trunkline.dev", "borrowed"]).unwrap();
    });
}

fn scaling_costs_nothing(cluster: &Arc<Cluster>) {
    under_load(cluster, 100, |installed| {
        for count in [1, 4, 2] {
            installed.scaled("trunkline-proxy", PROXIES, count);
        }
    });
}

fn a_rolling_restart_costs_nothing(cluster: &Arc<Cluster>) {
    under_load(cluster, 100, |installed| {
        let before = installed.proxies();
        cluster.kubectl(&["-n", HOME, "rollout", "restart", "deployment/trunkline-proxy"]).unwrap();
        let proxies = || installed.proxies();
        eventually("new proxies", SOON * 2, proxies, |now| {
            now.len() == 2 && now.iter().all(|proxy| !before.contains(proxy))
        });
        installed.scaled("trunkline-proxy", PROXIES, 2);
    });
}

/// By the other major than the one that installed.
fn an_upgrade_and_a_rollback_cost_nothing(cluster: &Arc<Cluster>) {
    under_load(cluster, 200, |installed| {
        let before = installed.proxies();
        helm(cluster, "helm3", "upgrade", &["image.tag=0.2.0"]).unwrap();
        let upgraded = installed.proxies();
        assert!(upgraded.iter().all(|proxy| !before.contains(proxy)), "{before:?} {upgraded:?}");
        cluster.helm("helm3", &["rollback", "trunkline", "-n", HOME, "--wait"]).unwrap();
        installed.scaled("trunkline-proxy", PROXIES, 2);
        assert!(installed.proxies().iter().all(|proxy| !upgraded.contains(proxy)));
    });
}

fn killed_operators_cost_nothing(cluster: &Arc<Cluster>) {
    under_load(cluster, 500, |installed| {
        let end = Instant::now() + Duration::from_secs(30);
        let mut edit = 0;
        while Instant::now() < end {
            let pods = cluster.get(HOME, &["pods", "--selector", OPERATORS]);
            let pods = pods["items"].as_array().cloned().unwrap_or_default();
            if let Some(pod) = fastrand::choice(&pods) {
                let name = pod["metadata"]["name"].as_str().unwrap();
                let now = ["--force", "--grace-period=0", "--ignore-not-found", "--wait=false"];
                let delete = [&["-n", HOME, "delete", "pod", name][..], &now].concat();
                cluster.kubectl(&delete).unwrap();
            }
            cluster.block_on(async |client| {
                edit += 1;
                let change = spec("steady", &format!("killed-{edit}"), "sim-tokens-20-pace-10");
                patch(&routes(client, APPS), "steady", json!({ "spec": change })).await;
            });
            thread::sleep(Duration::from_millis(fastrand::u64(500..4000)));
        }
        installed.scaled("trunkline-operator", OPERATORS, 2);
        installed.programmed("steady", SOON);
        for proxy in installed.proxies() {
            let target = ask(proxy, "steady").target;
            assert_eq!(target, Some(format!("killed-{edit}")), "{proxy} serves the last edit");
        }
    });
}

fn a_proxy_starts_without_an_operator(cluster: &Arc<Cluster>) {
    under_load(cluster, 100, |installed| {
        installed.scaled("trunkline-operator", OPERATORS, 0);
        let before = installed.proxies();
        installed.scaled("trunkline-proxy", PROXIES, 3);
        let new = installed.proxies().into_iter().find(|proxy| !before.contains(proxy)).unwrap();
        assert_eq!(ask(new, "steady").status, 200, "{new} has the whole table");
        installed.scaled("trunkline-proxy", PROXIES, 2);
        installed.scaled("trunkline-operator", OPERATORS, 2);
    });
}

fn an_api_server_that_is_away_costs_nothing(cluster: &Arc<Cluster>) {
    under_load(cluster, 500, |installed| {
        let proxies = installed.proxies();
        cluster.plane.stop_api_server();
        thread::sleep(Duration::from_secs(40));
        for proxy in &proxies {
            let admin = SocketAddr::new(proxy.ip(), 9090);
            assert_eq!(http::get(admin, "/readyz").unwrap().status, 200, "{proxy} stays ready");
        }
        cluster.plane.start_api_server();
        installed.route("steady", &spec("steady", "after", "sim-tokens-20-pace-10"));
        assert_eq!(installed.proxies(), proxies, "no pod was replaced");
        for proxy in proxies {
            assert_eq!(ask(proxy, "steady").target.as_deref(), Some("after"));
        }
    });
}
