//! Manifests that are right and manifests that are wrong: what is said of them, and that an API
//! server would say the same.

#![cfg(test)]

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline::{
    compile::{self, Compiled, LastGood, Options, Ready, Reason, Report, render},
    files::Reader,
};

use crate::support::schema;

const CLOSED: Options = Options { allow_private_endpoints: false };
const OPEN: Options = Options { allow_private_endpoints: true };

/// Variables that end in KEY are set.
fn environment(name: &str) -> Option<String> {
    name.ends_with("KEY").then(|| "sk-from-the-environment".to_owned())
}

fn compiled(path: &Path, options: Options) -> Compiled {
    let snapshot = Reader::new(path).read(&environment).unwrap();
    compile::compile(&snapshot, options, 1, &mut LastGood::default())
}

/// Compiles objects that are written to a folder as one file each.
fn compiled_objects(objects: &[Value], options: Options) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    for (at, object) in objects.iter().enumerate() {
        fs::write(folder.path().join(format!("{at:03}.json")), object.to_string()).unwrap();
    }
    compiled(folder.path(), options)
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new("tests/it/fixtures").join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap()).collect()
}

/// Whether a report says that the specification is wrong in a way that a schema could know.
fn sound(report: &Report) -> bool {
    let wrong = [Reason::Invalid, Reason::UnknownField, Reason::UnsupportedValue];
    !report.problems.iter().any(|problem| wrong.contains(&problem.reason))
}

#[test]
fn each_mistake_is_told_with_place_and_remedy() {
    let mut all = String::new();
    for file in fixtures("broken") {
        let reports = compiled(&file, CLOSED).reports;
        assert_eq!(render::exit_code(&reports), 1, "{}", file.display());
        let text = render::text(&reports);
        assert!(!text.contains("canary"), "a secret is shown: {text}");
        let name = file.file_name().unwrap().display();
        write!(all, "── {name} ──\n{text}\n").unwrap();
    }
    insta::assert_snapshot!("broken", all);
}

#[test]
fn what_is_right_is_without_problem() {
    for file in fixtures("manifests") {
        let reports = compiled(&file, CLOSED).reports;
        assert_eq!(render::exit_code(&reports), 0, "{}", render::text(&reports));
    }
}

#[test]
fn the_examples_are_without_problem() {
    let examples = [
        ("affinity", 4, 3),
        ("cheapest-within-slo", 4, 0),
        // Of models that no provider of ours sells by these names.
        ("consumers", 6, 3),
        ("preferences", 6, 0),
        ("premium-with-fallback", 4, 3),
        ("quickstart", 5, 0),
        ("self-hosted-spillover", 3, 2),
        ("spend-tiers", 3, 0),
    ];
    for (example, objects, unpriced) in examples {
        let found = compiled(&Path::new("examples").join(example), OPEN);
        let text = render::text(&found.reports);
        let (prices, rest): (Vec<_>, Vec<_>) = text
            .lines()
            .filter(|line| !line.starts_with("examples/"))
            .partition(|line| line.starts_with("  Priced=False (PriceUnknown)  target `"));
        assert_eq!(rest, [format!("{objects} objects, no problem.")], "{example}");
        assert_eq!(prices.len(), unpriced, "{example}: {text}");
        assert_eq!(render::exit_code(&found.reports), 0, "{example}");
    }
    let quickstart = compiled(Path::new("examples/quickstart"), OPEN);
    assert_eq!(quickstart.table.routes().len(), 2);
    let real = compiled(Path::new("examples/real-providers"), CLOSED);
    assert_eq!(render::exit_code(&real.reports), 0, "{}", render::text(&real.reports));
}

/// What a newcomer with one key sees.
#[test]
fn a_target_whose_key_is_missing_is_taken_out_and_the_rest_serves() {
    let only_openai = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-1".to_owned());
    let snapshot = Reader::new("examples/real-providers").read(&only_openai).unwrap();
    let compiled = compile::compile(&snapshot, CLOSED, 1, &mut LastGood::default());
    let chat = compiled.table.routes().iter().find(|route| &*route.id.name == "chat").unwrap();
    let targets: Vec<_> = chat.targets.iter().map(|target| &*target.name).collect();
    assert_eq!(targets, ["gpt"]);
    insta::assert_snapshot!("one_key", render::text(&compiled.reports));
}

#[test]
fn json_and_yaml_say_the_same_as_the_text() {
    let reports =
        compiled(Path::new("tests/it/fixtures/broken/missing-secret.yaml"), CLOSED).reports;
    let json: Value = serde_json::from_str(&render::json(&reports)).unwrap();
    let yaml: Value = serde_yaml::from_str(&render::yaml(&reports).unwrap()).unwrap();
    assert_eq!(json, yaml);
    insta::assert_snapshot!("json", render::json(&reports));
}

/// A fixture that begins so is wrong in a way that no schema can tell.
const BEYOND: &str = "# Beyond the schema";

#[test]
fn an_api_server_and_compile_agree_on_every_fixture() {
    let mut seen = 0;
    for file in [fixtures("broken"), fixtures("manifests")].concat() {
        let text = fs::read_to_string(&file).unwrap();
        let reports = compiled(&file, CLOSED).reports;
        for report in &reports {
            let Some(id) = report.id.as_ref().filter(|_| report.ready.is_some()) else { continue };
            let object = documents(&text).into_iter().flat_map(|document| {
                let items = document["items"].as_array().cloned();
                items.unwrap_or_else(|| vec![document])
            });
            let object = object
                .filter(|object| {
                    object["kind"] == report.kind && object["metadata"]["name"] == *id.name
                })
                .collect::<Vec<_>>();
            let accepted = schema::accepts(&report.kind, &object[0]);
            let name = format!("{}: {}", file.display(), report.title());
            if text.starts_with(BEYOND) {
                assert!(accepted, "{name} is not beyond the schema");
                assert_eq!(render::exit_code(&reports), 1, "{name}");
            } else {
                assert_eq!(accepted, sound(report), "{name}: {:?}", report.problems);
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// A sound object of each kind; tables and properties change one value of it.
fn base(kind: &str) -> Value {
    let name = format!("tests/it/fixtures/manifests/{}", "full.yaml");
    let found = documents(&fs::read_to_string(name).unwrap());
    let mut object = found.into_iter().find(|object| object["kind"] == kind).unwrap();
    object["metadata"] = json!({"name": "subject"});
    if kind == "ModelRoute" {
        object["spec"]["models"] = json!(["support"]);
    }
    if kind == "ProviderCredential" {
        object["spec"]["endpoint"] = json!({"baseURL": "https://models.example.com"});
    }
    object
}

/// Sets the value at a JSON pointer; the last part may be new.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match last.parse::<usize>() {
        Ok(at) => parent[at] = value,
        Err(_name) => parent[last] = value,
    }
}

/// What both sides say of an object: an API server, and `compile`.
fn verdicts(kind: &str, object: &Value) -> (bool, bool) {
    let reports = compiled_objects(std::slice::from_ref(object), OPEN).reports;
    assert_eq!(reports.len(), 1);
    (schema::accepts(kind, object), sound(&reports[0]))
}

/// Kind, the field as a JSON pointer, values to accept, values to refuse.
#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<(&'static str, &'static str, Vec<Value>, Vec<Value>)> {
    let route = "ModelRoute";
    let credential = "ProviderCredential";
    let consumer = "ModelConsumer";
    let texts = |texts: &[&str]| texts.iter().map(|text| json!(text)).collect::<Vec<_>>();
    let long = |count| json!("a".repeat(count));
    let mut durations =
        texts(&["", "5", "s", "0s", "24h1ms", "-1s", "1.5s", "1d", "1s ", "100000s"]);
    durations.extend([json!(5), json!("1s1s1s1s1s"), Value::Null]);
    let scaler = |more: Value| {
        let mut scaler = json!({"scaleTargetRef": {"name": "vllm"}, "demand": {"proxies": {}},
            "maxReplicas": 8, "inFlightPerReplica": 16});
        scaler.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scaler
    };
    let target = |more: Value| {
        let mut target = json!({"name": "t", "credentialRef": {"name": "c"}, "model": "m"});
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target
    };
    vec![
        (
            route,
            "/spec/models/0",
            texts(&["a", "*", "a*", "*a", "o/m:t@1+2"]),
            [texts(&["", "**", "*a*", "a*b", "a b", "\u{e9}"]), vec![long(129), json!(1)]].concat(),
        ),
        (
            route,
            "/spec/strategy",
            vec![
                json!({}),
                json!({"type": "Cheapest", "tolerancePercent": 0}),
                json!({"type": "Balanced", "balanced": {"cost": 2, "load": 1}}),
                json!({"type": "Balanced", "balanced": {"quality": 100}}),
            ],
            vec![
                json!({"type": "Best"}),
                json!({"type": "Balanced"}),
                json!({"type": "Balanced", "balanced": {}}),
                json!({"type": "Balanced", "balanced": {"cost": 101}}),
                json!({"type": "Balanced", "balanced": {"quality": -1}}),
                json!({"type": "Fastest", "balanced": {"cost": 1}}),
                json!({"tolerancePercent": 101}),
            ],
        ),
        (
            route,
            "/spec/circuitBreaker",
            vec![json!({}), json!({"consecutiveFailures": 1, "rampUp": "0s", "cooldown": "5m"})],
            vec![
                json!({"consecutiveFailures": 0}),
                json!({"failurePercent": 0}),
                json!({"minRequests": 0}),
                json!({"cooldown": "0s"}),
                json!({"cooldown": "6m"}),
                json!({"maxCooldown": "soon"}),
                json!({"rampUp": "-1s"}),
            ],
        ),
        (
            route,
            "/spec/slo",
            vec![],
            vec![
                json!({"firstToken": "1s"}),
                json!({}),
                json!({"firstToken": "0s"}),
                json!({"perOutputToken": "x"}),
                json!({"successPercent": "100.1"}),
            ],
        ),
        (
            route,
            "/spec",
            vec![json!({"models": ["a"], "targets": [target(json!({}))],
                "strategy": {"type": "Fastest"}, "slo": {"firstToken": "1s"}})],
            vec![
                json!({"models": ["a"], "targets": [target(json!({}))],
                "strategy": {"type": "Fastest"}, "slo": {"firstToken": "0s"}}),
                json!({"models": ["a"], "targets": [target(json!({"tier": 1}))],
                "spillover": {"inFlightPerPod": 1}}),
            ],
        ),
        (
            route,
            "/spec/requirements",
            vec![json!({}), json!({"capabilities": ["Tools", "Vision"], "minContextTokens": 1})],
            vec![
                json!({"capabilities": ["Sight"]}),
                json!({"capabilities": ["Tools", "Tools"]}),
                json!({"minContextTokens": 0}),
            ],
        ),
        (
            route,
            "/spec/queue",
            vec![json!({}), json!({"maxRequests": 0, "maxWait": "5m"})],
            vec![json!({"maxRequests": -1}), json!({"maxWait": "0s"}), json!({"length": 1})],
        ),
        (
            route,
            "/spec/spillover",
            vec![
                json!({"inFlightPerPod": 1}),
                json!({"inFlightPerPod": 100, "returnBelowPercent": 100, "holdFor": "0s"}),
            ],
            vec![
                json!({}),
                json!({"inFlightPerPod": 0}),
                json!({"inFlightPerPod": 1, "returnBelowPercent": 101}),
                json!({"inFlightPerPod": 1, "holdFor": "25h"}),
            ],
        ),
        (
            credential,
            "/spec/models",
            vec![json!([]), json!([{"name": "m", "capabilities": [], "contextTokens": 8192}])],
            vec![
                json!([{"name": "m", "capabilities": ["Sight"]}]),
                json!([{"name": "m", "contextTokens": 0}]),
                json!([{"name": "m"}, {"name": "m"}]),
            ],
        ),
        (
            "ModelAutoscaler",
            "/spec",
            vec![
                scaler(json!({})),
                scaler(json!({"demand": {"credentialRef": {"name": "vllm"}}, "minReplicas": 0})),
                scaler(json!({"demand": {"prometheus": {"query": "sum(up)"}}, "minReplicas": 0})),
                scaler(json!({"mode": "Recommend", "firstToken": "2s", "coldStart": "90s"})),
            ],
            vec![
                scaler(json!({"minReplicas": 0})),
                scaler(json!({"minReplicas": 9})),
                scaler(json!({"maxReplicas": 0})),
                scaler(json!({"inFlightPerReplica": 0})),
                scaler(json!({"demand": {}})),
                scaler(json!({"demand": {"prometheus": {}}})),
                scaler(json!({"demand": {"prometheus": {"query": ""}}})),
                scaler(json!({"demand": {"proxies": {}, "prometheus": {"query": "up"}}})),
                scaler(json!({"demand": {"proxies": {}, "credentialRef": {"name": "vllm"}}})),
                scaler(json!({"mode": "Off"})),
                scaler(json!({"coldStart": "0s"})),
                scaler(json!({"scaleTargetRef": {}})),
            ],
        ),
        (
            route,
            "/spec/affinity",
            vec![
                json!({}),
                json!({"header": "X-Conversation", "tolerancePercent": 0}),
                json!({"by": "Prefix", "prefixBytes": 64, "tolerancePercent": 1000}),
            ],
            vec![
                json!({"by": "Prefix", "header": "x-conversation"}),
                json!({"header": "x y"}),
                json!({"by": "Luck"}),
                json!({"by": "Prefix", "prefixBytes": 63}),
                json!({"prefixBytes": 65_537}),
                json!({"tolerancePercent": -1}),
                json!({"tolerancePercent": 1001}),
            ],
        ),
        (
            route,
            "/spec/hedge",
            vec![json!({}), json!({"after": "300ms", "budgetPercent": 50})],
            vec![json!({"after": "0s"}), json!({"budgetPercent": 0}), json!({"budgetPercent": 51})],
        ),
        (
            route,
            "/spec/targets/0/pricing",
            vec![
                json!({"input": "2.50", "output": "0"}),
                json!({"input": "1000000", "output": "0.000001", "cacheRead": "1", "above":
                    [{"tokens": 200_000, "input": "3", "output": "4"}]}),
            ],
            vec![
                json!({"input": "2.50"}),
                json!({"input": 2.5, "output": "1"}),
                json!({"input": "-1", "output": "1"}),
                json!({"input": "1e3", "output": "1"}),
                json!({"input": "0.0000001", "output": "1"}),
                json!({"input": "1000001", "output": "1"}),
                json!({"input": "1", "output": "1", "above": [{"tokens": 0, "input": "1", "output": "1"}]}),
            ],
        ),
        (route, "/spec/models", vec![json!(["a"])], vec![json!([]), json!("a"), json!(["a", "a"])]),
        (
            route,
            "/spec/match",
            vec![json!({}), json!({"apis": ["Messages"]})],
            vec![
                json!({"apis": ["Responses"]}),
                json!({"api": []}),
                json!({"apis": ["Messages", "Messages"]}),
            ],
        ),
        (
            route,
            "/spec/match/headers/0",
            vec![
                json!({"name": "x", "value": "v"}),
                json!({"name": "x", "type": "Present"}),
                json!({"name": "X_y.z", "type": "Prefix", "value": "a b"}),
            ],
            vec![
                json!({"name": "x"}),
                json!({"name": "x", "type": "Present", "value": "v"}),
                json!({"name": "x", "type": "Regex", "value": "v"}),
                json!({"name": "", "value": "v"}),
                json!({"name": "a b", "value": "v"}),
                json!({"name": "a:", "value": "v"}),
                json!({"name": "x", "value": ""}),
                json!({"name": "x", "value": "a\r\nb"}),
                json!({"name": "x", "value": "\u{e9}"}),
                json!({"value": "v"}),
            ],
        ),
        (
            route,
            "/spec/precedence",
            vec![json!(-1000), json!(1000)],
            vec![json!(1001), json!(0.5), json!("1")],
        ),
        (
            route,
            "/spec/access",
            vec![
                json!({"consumers": [{"name": "c"}]}),
                json!({"groups": [{"name": "g", "namespace": "n"}]}),
                json!({"namespaces": {}}),
                json!({"namespaces": {"from": "Selector", "selector": {}}}),
            ],
            vec![
                json!({}),
                json!({"consumers": []}),
                json!({"groups": []}),
                json!({"consumers": ["c"]}),
                json!({"consumers": [{"name": ""}]}),
                json!({"consumers": [{"namespace": "n"}]}),
                json!({"groups": [{"name": "two words"}]}),
                json!({"groups": [{"name": "g", "namespace": ""}]}),
                json!({"namespaces": {"from": "Selector"}}),
                json!({"namespaces": {"from": "Same", "selector": {}}}),
                json!({"everybody": true}),
                json!([]),
            ],
        ),
        (
            consumer,
            "/spec/groups",
            vec![json!([]), json!(["gold", "a.b_c-1"])],
            vec![
                json!(["gold", "gold"]),
                json!([""]),
                json!(["-a"]),
                json!(["a b"]),
                json!("gold"),
            ],
        ),
        (
            consumer,
            "/spec/preference",
            texts(&["Balanced", "Economy", "Quality", "Speed"]),
            texts(&["", "economy", "Fastest"]),
        ),
        (
            consumer,
            "/spec/auth",
            vec![json!({"apiKeys": [{"name": "k", "env": "A"}]})],
            vec![
                json!({}),
                json!({"apiKeys": []}),
                json!({"apiKeys": [{"name": "k", "env": "A"}, {"name": "k", "env": "B"}]}),
                json!({"none": {}}),
            ],
        ),
        (
            consumer,
            "/spec/auth/apiKeys/0",
            vec![
                json!({"name": "k", "secretRef": {"name": "s", "key": "k"}}),
                json!({"name": "K.1_2-3", "env": "_A1"}),
            ],
            vec![
                json!({"name": "k"}),
                json!({"name": "k", "env": "A", "secretRef": {"name": "s", "key": "k"}}),
                json!({"name": "k", "env": "sk-pasted"}),
                json!({"name": "a b", "env": "A"}),
                json!({"name": "k", "secretRef": {"name": "s"}}),
                json!({"name": "k", "env": "A", "weight": 1}),
            ],
        ),
        (
            route,
            "/spec/targets",
            vec![json!([target(json!({})), target(json!({"name": "last", "tier": 9}))])],
            vec![
                json!([]),
                json!([target(json!({}))]),
                json!([target(json!({"weight": 0}))]),
                json!([target(json!({})), target(json!({}))]),
            ],
        ),
        (
            route,
            "/spec/targets/0",
            vec![
                target(json!({"weight": 1000, "tier": 15, "quality": 100})),
                target(json!({"overrides": {"set": {"a": null}, "remove": ["b"]}})),
                target(json!({"timeouts": {"connect": "1ms"}})),
            ],
            vec![
                target(json!({"weight": 1001})),
                target(json!({"quality": 101})),
                target(json!({"quality": -1})),
                target(json!({"quality": "good"})),
                target(json!({"tier": -1})),
                target(json!({"name": ""})),
                target(json!({"name": "a b"})),
                target(json!({"name": "-a"})),
                target(json!({"name": "a".repeat(64)})),
                target(json!({"model": ""})),
                target(json!({"model": "a/../b"})),
                target(json!({"model": "/a"})),
                target(json!({"model": "a//b"})),
                target(json!({"model": "a?b"})),
                target(json!({"model": "a#b"})),
                target(json!({"model": "a%b"})),
                target(json!({"model": "a\nb"})),
                target(json!({"model": "."})),
                target(json!({"credentialRef": {"name": ""}})),
                target(json!({"credentialRef": "c"})),
                target(json!({"overrides": {"remove": ["model"]}})),
                target(json!({"overrides": {"remove": [""]}})),
                target(json!({"timeouts": {"connect": "0s"}})),
                target(json!({"weigth": 1})),
            ],
        ),
        (
            route,
            "/spec/failover/totalBudget",
            texts(&["1ms", "24h", "1m30s", "1h2m3s4ms"]),
            durations.clone(),
        ),
        (route, "/spec/failover/maxAttempts", vec![json!(1), json!(8)], vec![json!(0), json!(9)]),
        (
            route,
            "/spec/failover/retryOn",
            vec![json!([]), json!(["Timeout"])],
            vec![json!(["Timeouts"]), json!(["Timeout", "Timeout"])],
        ),
        (route, "/spec/timeouts/total", texts(&["24h", "600s"]), durations),
        (route, "/spec/paused", vec![json!(true)], vec![json!("true"), json!(1)]),
        (
            credential,
            "/spec/provider",
            vec![json!("OpenAICompatible")],
            texts(&["", "openai", "Mistral"]),
        ),
        (
            credential,
            "/spec/endpoint/baseURL",
            texts(&[
                "https://a",
                "https://A.b-c_d.e:1/x/y.z~:@-/",
                "http://127.0.0.1:9101/v1",
                "https://[::1]:65535",
                "https://a/",
            ]),
            [
                texts(&[
                    "",
                    "a",
                    "ftp://a",
                    "https://",
                    "https://a@b",
                    "https://a?b",
                    "https://a#b",
                    "https://a/%2e",
                    "https://a/..",
                    "https://a/./b",
                    "https://a//b",
                    "https://a:0",
                    "https://a:65536",
                    "https://a:01",
                    "https://a b",
                    "https://[a",
                    "https://\u{e9}",
                ]),
                vec![json!(format!("https://{}", "a".repeat(512)))],
            ]
            .concat(),
        ),
        (
            credential,
            "/spec/endpoint",
            vec![
                json!({"baseURL": "https://a", "tls": {}}),
                json!({"baseURL": "https://a", "tls": {"serverName": "a.b-c"}}),
            ],
            vec![
                json!({}),
                json!({"baseURL": "http://a", "tls": {}}),
                json!({"baseURL": "https://a", "tls": {"serverName": "A"}}),
                json!({"baseURL": "https://a", "tls": {"serverName": "-a"}}),
                json!({"baseURL": "https://a", "tls": {"serverName": "a..b"}}),
                json!({"baseURL": "https://a", "tls": {"caBundleRef": {"name": ""}}}),
                json!({"baseURL": "https://a", "tls": {"caBundleRef": {"kind": "Pod", "name": "a"}}}),
            ],
        ),
        (
            credential,
            "/spec/endpoint",
            vec![
                json!({"service": {"name": "vllm", "port": 8000, "path": "/v1"}}),
                json!({"service": {"name": "0-a", "port": "http", "path": "/a.b/c_d/"}}),
                json!({"service": {"name": "a", "port": 65535, "scheme": "HTTPS", "path": "/"},
                    "tls": {"serverName": "a.b"}}),
            ],
            vec![
                json!({"baseURL": "https://a", "service": {"name": "a", "port": 1, "path": "/"}}),
                json!({"service": {"name": "a", "port": 1, "path": "/"}, "tls": {}}),
                json!({"service": {"name": "a", "port": 1}}),
                json!({"service": {"name": "a", "path": "/"}}),
                json!({"service": {"port": 1, "path": "/"}}),
                json!({"service": {"name": "A", "port": 1, "path": "/"}}),
                json!({"service": {"name": "a.b", "port": 1, "path": "/"}}),
                json!({"service": {"name": "-a", "port": 1, "path": "/"}}),
                json!({"service": {"name": "a".repeat(64), "port": 1, "path": "/"}}),
                json!({"service": {"name": "a", "port": 0, "path": "/"}}),
                json!({"service": {"name": "a", "port": 65536, "path": "/"}}),
                json!({"service": {"name": "a", "port": 1.5, "path": "/"}}),
                json!({"service": {"name": "a", "port": "", "path": "/"}}),
                json!({"service": {"name": "a", "port": "Http", "path": "/"}}),
                json!({"service": {"name": "a", "port": "http-and-much-more", "path": "/"}}),
                json!({"service": {"name": "a", "port": true, "path": "/"}}),
                json!({"service": {"name": "a", "port": 1, "path": ""}}),
                json!({"service": {"name": "a", "port": 1, "path": "v1"}}),
                json!({"service": {"name": "a", "port": 1, "path": "/a/../b"}}),
                json!({"service": {"name": "a", "port": 1, "path": "/."}}),
                json!({"service": {"name": "a", "port": 1, "path": "//"}}),
                json!({"service": {"name": "a", "port": 1, "path": "/a?b"}}),
                json!({"service": {"name": "a", "port": 1, "path": format!("/{}", "a".repeat(128))}}),
                json!({"service": {"name": "a", "port": 1, "path": "/", "scheme": "http"}}),
                json!({"service": {"name": "a", "port": 1, "path": "/", "namespace": "b"}}),
            ],
        ),
        (
            credential,
            "/spec",
            vec![json!({"provider": "AnthropicCompatible", "auth": {"none": {}},
                "endpoint": {"service": {"name": "a", "port": 1, "path": "/"}}})],
            vec![json!({"provider": "Anthropic", "auth": {"none": {}},
                "endpoint": {"service": {"name": "a", "port": 1, "path": "/"}}})],
        ),
        (
            credential,
            "/spec/auth",
            vec![json!({"none": {}}), json!({"apiKey": {"keys": [{"name": "k", "env": "A"}]}})],
            vec![
                json!({}),
                json!({"none": {}, "apiKey": {"keys": [{"name": "k", "env": "A"}]}}),
                json!({"none": {"a": 1}}),
                json!({"apiKey": {"keys": []}}),
                json!({"apiKey": {"keys": [{"name": "k", "env": "A", "weight": 0}]}}),
                json!({"apiKey": {"keys": [{"name": "k", "env": "A"}, {"name": "k", "env": "B"}]}}),
            ],
        ),
        (
            credential,
            "/spec/auth/apiKey/keys/0",
            vec![
                json!({"name": "k", "secretRef": {"name": "s", "key": "k"}}),
                json!({"name": "K.1_2-3", "env": "_A1", "weight": 1000}),
            ],
            vec![
                json!({"name": "k"}),
                json!({"name": "k", "env": "A", "secretRef": {"name": "s", "key": "k"}}),
                json!({"name": "k", "env": "sk-live"}),
                json!({"name": "k", "env": "1A"}),
                json!({"name": "k", "env": ""}),
                json!({"name": "k.", "env": "A"}),
                json!({"name": "k", "env": "A", "weight": 1001}),
            ],
        ),
        (
            credential,
            "/spec/auth/apiKey/cooldown/onRejected",
            texts(&["0s", "24h"]),
            texts(&["25h", "x", ""]),
        ),
        (
            credential,
            "/spec/quota",
            vec![
                json!({}),
                json!({"requestsPerMinute": 1, "tokensPerMinute": 1_000_000, "maxConcurrent": 1}),
            ],
            vec![
                json!({"requestsPerMinute": 0}),
                json!({"maxConcurrent": -1}),
                json!({"perDay": 1}),
            ],
        ),
        (
            credential,
            "/spec/spendTiers",
            vec![
                json!([]),
                json!([{"aboveUSD": "0.01", "multiplier": "1"}]),
                json!([{"aboveUSD": "5000", "multiplier": "2.125"}, {"aboveUSD": "999.5", "multiplier": "1.2"}]),
                json!([{"aboveUSD": "1", "multiplier": "1.2"}, {"aboveUSD": "2", "multiplier": "1.2"}]),
            ],
            vec![
                json!([{"aboveUSD": "1"}]),
                json!([{"aboveUSD": 1000, "multiplier": "1.2"}]),
                json!([{"aboveUSD": "0", "multiplier": "1.2"}]),
                json!([{"aboveUSD": "1.001", "multiplier": "1.2"}]),
                json!([{"aboveUSD": "1,000", "multiplier": "1.2"}]),
                json!([{"aboveUSD": "1", "multiplier": "0.99"}]),
                json!([{"aboveUSD": "1", "multiplier": "100"}]),
                json!([{"aboveUSD": "1", "multiplier": "1.2"}, {"aboveUSD": "1", "multiplier": "1.3"}]),
                json!([{"aboveUSD": "1", "multiplier": "1.2"}, {"aboveUSD": "1.0", "multiplier": "1.3"}]),
                json!([{"aboveUSD": "1", "multiplier": "1.2"}, {"aboveUSD": "2", "multiplier": "1.1"}]),
            ],
        ),
        (
            credential,
            "/spec/allowedRoutes/namespaces",
            vec![json!({}), json!({"from": "All"}), json!({"from": "Selector", "selector": {}})],
            vec![
                json!({"from": "Selector"}),
                json!({"from": "Same", "selector": {}}),
                json!({"from": "None"}),
            ],
        ),
        (
            credential,
            "/spec/allowedRoutes/namespaces/selector/matchExpressions/0",
            vec![
                json!({"key": "a", "operator": "NotIn", "values": ["b"]}),
                json!({"key": "a", "operator": "Exists"}),
            ],
            vec![
                json!({"key": "a", "operator": "In"}),
                json!({"key": "a", "operator": "In", "values": []}),
                json!({"key": "a", "operator": "Exists", "values": ["b"]}),
                json!({"key": "", "operator": "Exists"}),
                json!({"key": "a", "operator": "Gt"}),
            ],
        ),
    ]
}

#[test]
fn an_api_server_and_compile_agree_on_every_value() {
    let mut broken = BTreeSet::new();
    for (kind, pointer, good, bad) in table() {
        let spec = schema::spec(kind);
        for (value, expected) in
            good.into_iter().map(|v| (v, true)).chain(bad.into_iter().map(|v| (v, false)))
        {
            let mut object = base(kind);
            set(&mut object, pointer, value.clone());
            let told = verdicts(kind, &object);
            assert_eq!(told, (expected, expected), "{kind} {pointer} {value}");
            broken.extend(schema::rejections(spec, &object["spec"]));
        }
    }
    let untested: Vec<_> = schema::rules().into_iter().filter(|r| !broken.contains(r)).collect();
    assert!(untested.is_empty(), "no value above breaks {untested:#?}");
}

/// The fields with a rule of their own, and characters that such a rule may be about.
fn any_text() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    let field = prop::sample::select(vec![
        ("ModelRoute", "/spec/models/0"),
        ("ModelRoute", "/spec/targets/0/name"),
        ("ModelRoute", "/spec/targets/0/model"),
        ("ModelRoute", "/spec/match/headers/0/name"),
        ("ModelRoute", "/spec/match/headers/0/value"),
        ("ModelRoute", "/spec/timeouts/connect"),
        ("ModelRoute", "/spec/access/groups/0/name"),
        ("ModelConsumer", "/spec/groups/0"),
        ("ModelConsumer", "/spec/auth/apiKeys/0/name"),
        ("ModelConsumer", "/spec/auth/apiKeys/2/env"),
        ("ProviderCredential", "/spec/auth/apiKey/keys/2/env"),
        ("ProviderCredential", "/spec/auth/apiKey/cooldown/onRateLimit"),
    ]);
    let text = prop_oneof![
        "[a-zA-Z0-9._:/@+*%?# -]{0,8}",
        "([0-9]{1,6}(ms|s|m|h)){0,5}",
        "\\PC{0,4}",
        "[!-~]{1,3}",
        "[a-z]{0,2}[\\x00-\\x1f\\x7f-\\u{ff}][a-z]{0,2}",
    ];
    (field, text).prop_map(|((kind, pointer), text)| (kind, pointer, text))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_api_server_and_compile_agree_on_any_text((kind, pointer, text) in any_text()) {
        let mut object = base(kind);
        set(&mut object, pointer, json!(text));
        let (server, compiled) = verdicts(kind, &object);
        prop_assert_eq!(server, compiled, "{} {} {:?}", kind, pointer, text);
    }

    /// Not the other way around: `compile` also refuses unusual ways to write an address.
    #[test]
    fn a_base_url_that_an_api_server_refuses_is_refused(
        url in "(https?|ftp)?(:|://)[a-zA-Z0-9._\\[\\]:-]{0,12}(:[0-9]{0,6})?[/a-z.%?#@]{0,8}"
    ) {
        let mut object = base("ProviderCredential");
        set(&mut object, "/spec/endpoint/baseURL", json!(url));
        let (server, compiled) = verdicts("ProviderCredential", &object);
        prop_assert!(server || !compiled, "{url:?}");
    }
}

/// The objects of the whole fixture, the quickstart and a broken one.
fn many() -> Vec<Value> {
    let files = [
        "tests/it/fixtures/manifests/full.yaml",
        "tests/it/fixtures/broken/name-taken.yaml",
        "tests/it/fixtures/broken/missing-secret.yaml",
        "tests/it/fixtures/broken/consumer-keys.yaml",
        "tests/it/fixtures/broken/access-covered.yaml",
        "examples/quickstart/route.yaml",
    ];
    let texts = files.map(fs::read_to_string).map(Result::unwrap);
    let mut objects: Vec<_> = texts.iter().map(String::as_str).flat_map(documents).collect();
    objects.retain(Value::is_object);
    // One object of a name: which of two counts is decided by the place.
    let mut seen = BTreeSet::new();
    objects.retain(|object| seen.insert(format!("{}{}", object["kind"], object["metadata"])));
    objects
}

/// What is said, without the place.
fn said(compiled: &Compiled) -> BTreeSet<String> {
    let told = compiled.reports.iter().map(|report| {
        let messages: Vec<_> = report.problems.iter().map(|problem| &problem.message).collect();
        format!("{} {:?} {messages:?}", report.title(), report.ready)
    });
    told.collect()
}

/// Replaces the value at the `at`-th place of an object (counted in depth) with another one.
fn mutate(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
        *at = usize::MAX;
        return;
    }
    *at = at.saturating_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| mutate(item, at, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mutate(field, at, with)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_objects_does_not_matter(objects in Just(many()).prop_shuffle()) {
        let (sorted, shuffled) = (compiled_objects(&many(), CLOSED), compiled_objects(&objects, CLOSED));
        prop_assert!(sorted.same_as(&shuffled.table));
        prop_assert_eq!(said(&sorted), said(&shuffled));
    }

    #[test]
    fn any_manifests_give_a_table_and_a_bad_one_changes_only_its_own_report(
        which in 0..many().len(), at in 0..60_usize, with in any_value(),
    ) {
        let before = compiled_objects(&many(), CLOSED);
        let mut bad = many()[which].clone();
        mutate(&mut bad, &mut { at }, &with);
        // A name of its own, so that it is one more object and not another version of one.
        if let Some(metadata) = bad.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("name".to_owned(), json!("zz-mutant"));
        }
        let mut objects = many();
        objects.push(bad);
        let after = compiled_objects(&objects, CLOSED);
        let mutant = |report: &Report| report.source.file.ends_with(&format!("{:03}.json", objects.len() - 1));
        let rejected = after.reports.iter().any(|report| {
            let serves = |ready: Ready| ready.reason != Reason::NotAccepted;
            mutant(report) && !report.ready.is_some_and(serves)
        });
        if rejected {
            prop_assert!(before.same_as(&after.table));
            let others = Compiled {
                reports: after.reports.iter().filter(|report| !mutant(report)).cloned().collect(),
                ..after.clone()
            };
            prop_assert_eq!(said(&before), said(&others));
        }
    }
}
