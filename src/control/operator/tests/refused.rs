//! Lists that are refused or lack what is there: they prove nothing, unless the namespace is gone too.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_restart_onto_empty_or_forbidden_lists_leaves_the_table_as_it_is() {
    for fault in [Fault::List(9999, Vec::new()), Fault::Status(403), Fault::Status(500)] {
        let fake = cluster();
        route(&fake, "chat", &["chat"]);
        let process = start(&fake, "a", 1);
        until("published", || served(&fake) == ["chat"]).await;
        process.stop().await;
        let told = fault.clone();
        fake.fault(move |seen| {
            let own = seen.path.contains("/namespaces/trunkline/");
            (seen.is_list() && !own).then(|| told.clone())
        });
        let _process = start(&fake, "b", 1);
        sleep(Duration::from_mins(2)).await;
        assert_eq!(
            (served(&fake), key(&fake).as_deref()),
            (vec!["chat".to_owned()], Some("one")),
            "{fault:?}"
        );
    }
}

/// A namespace that is watched beside `team`: what is in it, and itself.
fn inside() -> [(String, Value); 3] {
    let spec = json!({"provider": "OpenAICompatible", "auth": {"none": {}},
        "endpoint": {"baseURL": "http://127.0.0.1:1/v1"}});
    let target = json!({"name": "t", "credentialRef": {"name": "own"}, "model": "m"});
    [
        ("/api/v1/namespaces/gone".to_owned(), json!({})),
        (format!("{GROUP}/gone/providercredentials/own"), spec),
        (
            format!("{GROUP}/gone/modelroutes/other"),
            json!({"models": ["other"], "targets": [target]}),
        ),
    ]
}

/// A cluster with a route in each of two namespaces.
fn two_namespaces() -> Fake {
    let fake = cluster();
    route(&fake, "chat", &["chat"]);
    for (path, spec) in inside() {
        fake.put(&path, json!({"metadata": {}, "spec": spec}));
    }
    fake
}

#[tokio::test(start_paused = true)]
async fn a_watched_namespace_that_goes_with_its_rights_takes_its_routes_along() {
    let fake = two_namespaces();
    let _process = start_in(&fake, Some(&["gone", "team"]), "a", 1);
    until("published", || served(&fake) == ["chat", "other"]).await;
    fake.fault(|seen| seen.path.contains("/namespaces/gone/").then_some(Fault::Status(403)));
    sleep(Duration::from_mins(2)).await;
    assert_eq!(served(&fake), ["chat", "other"], "a refusal takes nothing away");
    for (path, _) in inside() {
        fake.delete(&path);
    }
    until("without it", || served(&fake) == ["chat"]).await;
    for (path, spec) in inside() {
        fake.put(&path, json!({"metadata": {}, "spec": spec}));
    }
    fake.heal();
    until("back", || served(&fake) == ["chat", "other"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watched_namespace_that_went_with_its_rights_is_empty_and_holds_nothing_up() {
    let fake = two_namespaces();
    let inside = inside();
    let watched: Option<&[&str]> = Some(&["gone", "team"]);
    let process = start_in(&fake, watched, "a", 1);
    until("published", || served(&fake) == ["chat", "other"]).await;
    process.stop().await;
    fake.fault(|seen| seen.path.contains("/namespaces/gone/").then_some(Fault::Status(403)));
    // Not to be allowed to look is no proof, as long as the namespace is there.
    let process = start_in(&fake, watched, "b", 1);
    sleep(Duration::from_mins(2)).await;
    assert!(!process.readiness.missing().is_empty());
    assert_eq!(served(&fake), ["chat", "other"]);
    process.stop().await;

    for (path, _) in &inside {
        fake.delete(path);
    }
    let process = start_in(&fake, watched, "c", 1);
    until("ready", || process.readiness.missing().is_empty()).await;
    until("without it", || served(&fake) == ["chat"]).await;
    // It comes back, and nobody has given the rights again.
    fake.put(&inside[0].0, json!({"metadata": {}}));
    sleep(Duration::from_mins(1)).await;
    route(&fake, "more", &["more"]);
    until("published", || served(&fake) == ["chat", "more"]).await;
    for (path, spec) in &inside {
        fake.put(path, json!({"metadata": {}, "spec": spec}));
    }
    fake.heal();
    until("back", || served(&fake) == ["chat", "more", "other"]).await;
}
