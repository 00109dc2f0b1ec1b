//! Who serves, as seen by a client: what the caller prefers.

use serde_json::{Value, json};

use super::harness::{Play, Provider, Setup, body, local};

const ECONOMY: &str = "tk-economy-0123456789";
const QUALITY: &str = "tk-quality-0123456789";
const ANYTHING: &str = "tk-anything-0123456789";

fn consumer(name: &str, preference: Option<&str>) -> Value {
    let mut spec = json!({"auth": {"apiKeys": [
        {"name": "k", "secretRef": {"name": "consumers", "key": name}}]}});
    if let Some(preference) = preference {
        spec["preference"] = json!(preference);
    }
    json!({"apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelConsumer",
        "metadata": {"name": name}, "spec": spec})
}

#[test]
fn one_name_is_a_cheap_or_a_good_model_as_the_consumer_prefers() {
    local(async {
        let cheap = Provider::start(|_| Play::chat("cheap")).await;
        let good = Provider::start(|_| Play::chat("good")).await;
        let balanced = json!({"strategy": {"type": "Balanced", "balanced": {"cost": 1}}});
        let mut setup = Setup::default().openai(cheap.address).openai(good.address).with(balanced);
        setup.targets[1]["tier"] = json!(0);
        for (at, price, quality) in [(0, "0.1", 60), (1, "9", 95)] {
            setup.targets[at]["pricing"] = json!({"input": price, "output": price});
            setup.targets[at]["quality"] = json!(quality);
        }
        setup.objects.extend([
            consumer("economy", Some("Economy")),
            consumer("quality", Some("Quality")),
            consumer("anything", None),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "consumers"},
                "stringData": {"economy": ECONOMY, "quality": QUALITY, "anything": ANYTHING}}),
        ]);
        let proxy = setup.start();
        for (key, target) in [(ECONOMY, "a"), (QUALITY, "b"), (ANYTHING, "a")] {
            let bearer = format!("Bearer {key}");
            for _ in 0..5 {
                let headers = [("authorization", &*bearer)];
                let answer = proxy.ask("/v1/chat/completions", &headers, &body(json!({}))).await;
                assert_eq!(answer.header("x-trunkline-target"), target, "{key}");
            }
        }
    });
}
