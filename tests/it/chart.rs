//! The charts, rendered by both majors of Helm: what they make, what they refuse, and which rights
//! they give.
//!
//! No server is needed here; `tests/cluster` installs them. Helm comes from `tests/tools/install`.

#![cfg(test)]

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline::{api, provider::PROVIDERS};

const MAJORS: [&str; 2] = ["helm3", "helm4"];
const CHART: &str = "charts/trunkline";
const CRDS: &str = "charts/trunkline-crds";

/// The values of each profile: as it comes, with all that can be switched on, and for a whole
/// cluster.
const PROFILES: [(&str, &[&str]); 3] = [
    ("default", &[]),
    (
        "full",
        &[
            "watchNamespaces={team-a,team-b}",
            "commonLabels.cost-centre=ai",
            "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "imagePullSecrets[0].name=registry",
            "priorityClassName=high",
            "allowPrivateEndpoints=true",
            "proxy.anonymous=allow",
            "proxy.autoscaling.enabled=true",
            "proxy.tls.secretName=tls",
            "proxy.tolerations[0].operator=Exists",
            "autoscaler.prometheusURL=http://prometheus:9090",
            "tracing.endpoint=http://collector:4318",
            "tracing.headersSecret.name=collector",
            "networkPolicy.metrics[0].podSelector.matchLabels.app=prometheus",
        ],
    ),
    ("whole-cluster", &["watchAllNamespaces=true"]),
];

static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let made = Command::new("tests/tools/install").stderr(Stdio::inherit()).output().unwrap();
    assert!(made.status.success(), "tests/tools/install failed: see above");
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
});

fn helm(major: &str, args: &[&str]) -> Output {
    let program = TOOLS.join(major);
    assert!(program.exists(), "{} is missing: run `make test-tools`", program.display());
    Command::new(program).args(args).output().unwrap()
}

fn template(major: &str, chart: &str, values: &[&str], more: &[&str]) -> Output {
    let mut args = vec!["template", "tl", chart, "--namespace", "trunkline"];
    args.extend(["--kube-version", "1.36.0"]);
    args.extend(values.iter().flat_map(|value| ["--set", *value]));
    args.extend(more);
    helm(major, &args)
}

/// The objects that a chart makes, in order of kind, namespace and name.
fn objects(major: &str, chart: &str, values: &[&str], more: &[&str]) -> Vec<Value> {
    let made = template(major, chart, values, more);
    assert!(made.status.success(), "{major}: {}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8(made.stdout).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let mut objects: Vec<_> = documents.map(|one| Value::deserialize(one).unwrap()).collect();
    objects.retain(|object| !object.is_null());
    objects.sort_by_key(title);
    objects
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let Value::Object(_) = object else { panic!("no object: {object}") };
    let metadata = &object["metadata"];
    format!(
        "{} {}/{}",
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}

fn profile(name: &str) -> Vec<Value> {
    let (_, values) = PROFILES.iter().find(|(known, _)| *known == name).unwrap();
    objects("helm4", CHART, values, &[])
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let found = objects.iter().find(|object| title(object) == wanted);
    found.unwrap_or_else(|| panic!("there is no {wanted}"))
}

/// Every pod that a chart makes, as its kind and its specification.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let spec = |object: &'_ Value| match object["kind"].as_str() {
        Some("Deployment") => Some("/spec/template/spec"),
        Some("Pod") => Some("/spec"),
        _ => None,
    };
    let of = |object| Some((title(object), object.pointer(spec(object)?)?));
    objects.iter().filter_map(of).collect()
}

#[test]
fn both_majors_make_the_same_of_every_profile_and_find_nothing_to_mend() {
    let monitored = ["--api-versions", "monitoring.coreos.com/v1"];
    for (name, values) in PROFILES {
        let [three, four] = MAJORS.map(|major| objects(major, CHART, values, &monitored));
        assert_eq!(three, four, "{name}");
        let names: BTreeSet<_> = three.iter().map(title).collect();
        assert_eq!(names.len(), three.len(), "{name}: an object is made twice");
    }
    for (major, chart) in MAJORS.into_iter().flat_map(|major| [(major, CHART), (major, CRDS)]) {
        let lint = helm(major, &["lint", "--strict", "--kube-version", "1.36.0", chart]);
        assert!(lint.status.success(), "{major}: {}", String::from_utf8_lossy(&lint.stdout));
    }
}

#[test]
fn a_value_that_does_not_exist_or_cannot_be_is_refused() {
    for (major, value, field) in [
        ("helm3", "proxy.replcas=3", "replcas"),
        ("helm4", "proxy.replcas=3", "replcas"),
        ("helm4", "proxy.anonymous=maybe", "anonymous"),
        ("helm4", "proxy.replicas=-1", "replicas"),
        ("helm4", "image.digest=latest", "digest"),
        ("helm4", "watchNamespaces={Team_A}", "watchNamespaces"),
    ] {
        let made = template(major, CHART, &[value], &[]);
        let told = String::from_utf8_lossy(&made.stderr);
        assert!(!made.status.success() && told.contains(field), "{value}: {told}");
    }
}

/// One line a rule, so that a right that is added or lost is seen in a review.
#[test]
fn the_rights_are_those_of_the_golden_file() {
    let mut rights = String::new();
    for (name, values) in PROFILES {
        writeln!(rights, "── {name} ──").unwrap();
        let objects = objects("helm4", CHART, values, &[]);
        for binding in
            [of_kind(&objects, "ClusterRoleBinding"), of_kind(&objects, "RoleBinding")].concat()
        {
            let text =
                |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap_or("");
            let (kind, role) = (text("/roleRef/kind"), text("/roleRef/name"));
            let namespace = text("/metadata/namespace");
            assert_eq!(binding["subjects"].as_array().unwrap().len(), 1);
            writeln!(
                rights,
                "{}:{} in {}",
                text("/subjects/0/namespace"),
                text("/subjects/0/name"),
                if namespace.is_empty() { "the cluster" } else { namespace }
            )
            .unwrap();
            let place = if kind == "Role" { namespace } else { "" };
            let role = find(&objects, &format!("{kind} {place}/{role}"));
            for rule in role["rules"].as_array().unwrap() {
                let list = |field: &str| {
                    let words = rule[field].as_array().into_iter().flatten();
                    words.map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(", ")
                };
                let names = list("resourceNames");
                let names = if names.is_empty() { names } else { format!(" [{names}]") };
                let group = list("apiGroups");
                let group = if group.is_empty() { "core".to_owned() } else { group };
                writeln!(rights, "  {}: {group} {}{names}", list("verbs"), list("resources"))
                    .unwrap();
            }
        }
    }
    insta::assert_snapshot!("rights", rights);
}

#[test]
fn no_right_is_without_bounds() {
    for (name, values) in PROFILES {
        let objects = objects("helm4", CHART, values, &[]);
        for role in [of_kind(&objects, "Role"), of_kind(&objects, "ClusterRole")].concat() {
            for rule in role["rules"].as_array().unwrap() {
                let has = |field: &str, word: &str| {
                    rule[field].as_array().is_some_and(|words| words.contains(&json!(word)))
                };
                let title = title(role);
                for field in ["apiGroups", "resources", "verbs"] {
                    assert!(!has(field, "*"), "{name} {title}: {rule}");
                }
                for verb in ["bind", "escalate", "impersonate", "delete", "deletecollection"] {
                    assert!(!has("verbs", verb), "{name} {title}: {rule}");
                }
                for resource in ["pods/exec", "pods/log", "serviceaccounts/token"] {
                    assert!(!has("resources", resource), "{name} {title}: {rule}");
                }
                if title.ends_with("-proxy") {
                    let table = json!(["trunkline-head", "trunkline-base-a", "trunkline-base-b"]);
                    assert_eq!(rule["resourceNames"], table, "a proxy reads the table only");
                }
                let of_cluster = role["kind"] == "ClusterRole";
                let secrets = has("resources", "secrets");
                assert!(!of_cluster || !secrets || name == "whole-cluster", "{title}: {rule}");
            }
        }
    }
}

/// What the pod security standard *restricted* asks for, and a little more.
#[test]
fn every_pod_is_restricted() {
    for (name, values) in PROFILES {
        for (title, pod) in pods(&objects("helm4", CHART, values, &[])) {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{name} {title}");
            assert_eq!(security["runAsUser"], 65532, "{name} {title}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{name} {title}");
            for forbidden in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(pod.get(forbidden).is_none(), "{name} {title}: {forbidden}");
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                assert!(volume["secret"].is_object(), "{name} {title}: {volume}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{name} {title}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{name} {title}");
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{name} {title}");
                for resource in ["/resources/requests/memory", "/resources/limits/memory"] {
                    assert!(container.pointer(resource).is_some(), "{name} {title}: {resource}");
                }
                assert!(container.get("command").is_none(), "the image has no shell");
            }
        }
    }
}

/// Arguments that the program does not know end every pod.
#[test]
fn the_program_takes_every_argument() {
    let mut seen = BTreeSet::new();
    for (_, values) in PROFILES {
        for (title, pod) in pods(&objects("helm4", CHART, values, &[])) {
            let args = pod["containers"][0]["args"].as_array().unwrap();
            let mut args = args.iter().map(|arg| arg.as_str().unwrap());
            let command = args.next().unwrap();
            let help = Command::new(env!("CARGO_BIN_EXE_trunkline"))
                .args([command, "--help"])
                .output()
                .unwrap();
            assert!(help.status.success(), "{title}: there is no `trunkline {command}`");
            let help = String::from_utf8(help.stdout).unwrap();
            for flag in args.filter_map(|arg| arg.strip_prefix("--")) {
                let flag = flag.split('=').next().unwrap();
                let known = help.split_whitespace().any(|word| word == format!("--{flag}"));
                assert!(known, "{title}: `trunkline {command}` has no --{flag}");
                seen.insert(format!("{command} --{flag}"));
            }
        }
    }
    assert!(seen.len() > 15, "{seen:?}");
}

/// A rollout loses no request: a new pod is ready before an old one ends, and the old one is still
/// there while others believe it is.
#[test]
fn proxies_are_replaced_one_by_one_and_given_time() {
    let objects = profile("default");
    let proxy = find(&objects, "Deployment trunkline/tl-trunkline-proxy");
    assert_eq!(proxy["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let pod = &proxy["spec"]["template"]["spec"];
    let whole = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
    let args = pod["containers"][0]["args"].as_array().unwrap();
    let seconds = |flag: &str| {
        let mut values = args.iter().filter_map(|arg| arg.as_str()?.strip_prefix(flag));
        values.next().unwrap().parse::<i64>().unwrap()
    };
    assert_eq!(whole, seconds("--pre-stop=") + seconds("--grace-period=") + 5);
    // A hook would sleep before the process knows, and so before it can tell its clients.
    assert!(pod["containers"][0]["lifecycle"].is_null(), "{pod}");
    let budget = find(&objects, "PodDisruptionBudget trunkline/tl-trunkline-proxy");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    // What selects pods never changes from version to version: it could not be upgraded.
    let selector = json!({
        "app.kubernetes.io/name": "trunkline",
        "app.kubernetes.io/instance": "tl",
        "app.kubernetes.io/component": "proxy",
    });
    assert_eq!(proxy["spec"]["selector"]["matchLabels"], selector);
    assert_eq!(proxy["spec"]["template"]["metadata"]["labels"], selector);
    // Whoever scales must be the only one who does.
    let scaled = profile("full");
    let proxy = find(&scaled, "Deployment trunkline/tl-trunkline-proxy");
    assert!(proxy["spec"].get("replicas").is_none());
    find(&scaled, "HorizontalPodAutoscaler trunkline/tl-trunkline-proxy");
}

#[test]
fn the_network_is_open_where_it_must_be_and_the_metadata_service_is_out_of_reach() {
    for name in ["default", "full"] {
        let objects = profile(name);
        for policy in of_kind(&objects, "NetworkPolicy") {
            assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
            for block in policy["spec"]["egress"].as_array().unwrap().iter().flat_map(|rule| {
                rule["to"].as_array().into_iter().flatten().filter_map(|to| to.get("ipBlock"))
            }) {
                let except = block["except"].to_string();
                let metadata = ["169.254.0.0/16", "fd00:ec2::254/128"];
                assert!(metadata.iter().any(|address| except.contains(address)), "{block}");
            }
        }
        let operator = find(&objects, "NetworkPolicy trunkline/tl-trunkline-operator");
        let from = operator["spec"]["ingress"].as_array().unwrap();
        assert_eq!(from.is_empty(), name == "default", "only who scrapes reaches the operator");
    }
}

#[test]
fn a_service_monitor_is_made_where_its_api_is() {
    let without = profile("default");
    assert!(of_kind(&without, "ServiceMonitor").is_empty());
    let with = objects("helm4", CHART, &[], &["--api-versions", "monitoring.coreos.com/v1"]);
    let monitor = of_kind(&with, "ServiceMonitor")[0];
    let wanted = &monitor["spec"]["selector"]["matchLabels"];
    let port = &monitor["spec"]["endpoints"][0]["port"];
    let selected: Vec<_> = of_kind(&with, "Service")
        .into_iter()
        .filter(|service| {
            let labels = &service["metadata"]["labels"];
            wanted.as_object().unwrap().iter().all(|(name, value)| labels[name] == *value)
        })
        .collect();
    assert_eq!(selected.len(), 2, "one an operator and one a proxy");
    for service in selected {
        assert!(service["spec"]["ports"].as_array().unwrap().iter().any(|it| it["name"] == *port));
    }
}

#[test]
fn the_definitions_of_the_chart_are_those_of_the_types_and_are_kept() {
    let providers: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
    let mut expected: Vec<_> = api::crds(&providers)
        .iter()
        .map(|crd| {
            let mut crd = serde_json::to_value(crd).unwrap();
            crd["metadata"]["annotations"]["helm.sh/resource-policy"] = json!("keep");
            crd
        })
        .collect();
    expected.sort_by_key(title);
    for major in MAJORS {
        assert_eq!(objects(major, CRDS, &[], &[]), expected, "run `make crds`");
    }
    let templates = fs::read_dir(Path::new(CRDS).join("templates")).unwrap();
    assert_eq!(templates.count(), expected.len() + 1, "a file each, and NOTES.txt");
}

#[test]
fn the_chart_asks_for_the_definitions_that_the_program_needs() {
    let text = fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    let chart: Value = serde_yaml::from_str(&text).unwrap();
    let needed = &chart["annotations"][api::SCHEMA_REVISION_ANNOTATION];
    assert_eq!(*needed, api::SCHEMA_REVISION.to_string());
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let check = fs::read_to_string(format!("{CHART}/templates/definitions.yaml")).unwrap();
    for crd in api::crds(&[]) {
        assert!(check.contains(&format!("{:?}", crd.spec.names.plural)), "{}", crd.spec.names.kind);
    }
}

#[test]
fn bounds_of_ones_own_reach_the_proxy_as_it_reads_them() {
    for major in MAJORS {
        let bounds = ["--set-json", "proxy.metrics.firstTokenBuckets=[0.25,1,1.5]"];
        let values = ["proxy.metrics.maxSeries=200000"];
        let proxy = objects(major, CHART, &values, &bounds).into_iter().find(|object| {
            object["kind"] == "Deployment"
                && object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("proxy"))
        });
        let args = &proxy.unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        for wanted in ["--first-token-buckets=0.25,1,1.5", "--max-series=200000"] {
            assert!(args.as_array().unwrap().iter().any(|arg| arg == wanted), "{major}: {args}");
        }
    }
}
