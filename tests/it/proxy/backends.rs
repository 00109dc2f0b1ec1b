//! A Service whose pods are balanced one by one: spread, ill pods, pods that come and go.

use std::{cell::Cell, net::SocketAddr, rc::Rc};

use serde_json::json;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use super::harness::{MILLIS, Play, Provider, Setup, Step, chunk, finish, local, nobody, until};

async fn pods(
    count: usize,
    play: impl Fn(usize, usize) -> Play + Clone + 'static,
) -> Vec<Provider> {
    let mut pods = Vec::new();
    for at in 0..count {
        let play = play.clone();
        pods.push(Provider::start(move |number| play(at, number)).await);
    }
    pods
}

fn addresses(pods: &[Provider]) -> Vec<SocketAddr> {
    pods.iter().map(|pod| pod.address).collect()
}

fn asked(pods: &[Provider]) -> Vec<usize> {
    pods.iter().map(Provider::asked).collect()
}

#[test]
fn requests_are_spread_over_the_pods() {
    local(async {
        let pods = pods(3, |_, _| Play::chat("hello")).await;
        let proxy = Setup::default().service(&addresses(&pods)).start();
        for _ in 0..60 {
            let answer = proxy.chat(json!({})).await;
            assert_eq!(answer.header("x-trunkline-attempts"), "a:ok");
        }
        assert!(asked(&pods).iter().all(|asked| (8..=34).contains(asked)), "{:?}", asked(&pods));
        let heard = &pods[0].heard()[0];
        assert!(heard.head.starts_with("POST /v1/chat/completions "), "{}", heard.head);
        assert!(heard.head.contains("host: a.default.svc\r\n"), "{}", heard.head);
    });
}

#[test]
fn a_busy_pod_is_spared() {
    local(async {
        let pods = pods(2, |at, _| if at == 0 { Play::Silence } else { Play::chat("hello") }).await;
        let proxy = Setup::default().service(&addresses(&pods)).start();
        let proxy = Rc::new(proxy);
        while pods[0].asked() == 0 {
            let own = Rc::clone(&proxy);
            spawn_local(async move { own.chat(json!({})).await });
            sleep(5 * MILLIS).await;
        }
        let before = pods[0].asked();
        for _ in 0..20 {
            assert_eq!(proxy.chat(json!({})).await.status, 200);
        }
        assert_eq!(pods[0].asked(), before, "the other one has nothing to do");
    });
}

#[test]
fn a_pod_that_fails_costs_no_answer_and_is_left_alone() {
    local(async {
        let pods =
            pods(3, |at, _| if at == 0 { Play::error(500) } else { Play::chat("hello") }).await;
        let proxy = Setup::default().service(&addresses(&pods)).start();
        for _ in 0..80 {
            let answer = proxy.chat(json!({})).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        assert!(pods[0].asked() <= 5, "{:?}", asked(&pods));
    });
}

#[test]
fn pods_that_are_gone_before_anybody_knows_are_no_attempts() {
    local(async {
        let alive = Provider::start(|_| Play::chat("hello")).await;
        let mut all = vec![alive.address];
        for _ in 0..6 {
            all.push(nobody().await);
        }
        let route = json!({"failover": {"maxAttempts": 1}});
        let proxy = Setup::default().service(&all).with(route).start();
        for _ in 0..10 {
            let answer = proxy.chat(json!({})).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    });
}

#[test]
fn a_pod_that_goes_takes_no_new_request_and_finishes_what_it_has() {
    local(async {
        let slow = |_, _| {
            Play::Stream(vec![
                Step::Say(chunk("first")),
                Step::Wait(100 * MILLIS),
                Step::Say(chunk("last")),
                Step::Say(finish()),
            ])
        };
        let pods = pods(2, slow).await;
        let proxy = Rc::new(Setup::default().service(&addresses(&pods)).start());
        let whole = Rc::new(Cell::new(0));
        let ask = || {
            let (proxy, whole) = (Rc::clone(&proxy), Rc::clone(&whole));
            spawn_local(async move {
                let answer = proxy.chat(json!({"stream": true})).await;
                assert!(answer.status == 200 && answer.whole, "{}", answer.body);
                assert!(answer.body.contains("last"), "{}", answer.body);
                whole.set(whole.get() + 1);
            });
        };
        (0..10).for_each(|_| ask());
        until(|| {
            pods.iter().all(|pod| pod.asked() > 0) && asked(&pods).iter().sum::<usize>() == 10
        })
        .await;
        let before = pods[0].asked();
        proxy.pods(&[pods[1].address]);
        for _ in 0..10 {
            ask();
            sleep(5 * MILLIS).await;
        }
        until(|| whole.get() == 20).await;
        assert_eq!(pods[0].asked(), before);
        proxy.pods(&addresses(&pods));
        (0..10).for_each(|_| ask());
        until(|| whole.get() == 30).await;
        assert!(pods[0].asked() > before, "it came back");
    });
}

#[test]
fn another_target_serves_while_a_service_has_no_pod() {
    local(async {
        let hosted = Provider::start(|_| Play::chat("from b")).await;
        let proxy = Setup::default().service(&[]).openai(hosted.address).start();
        let answer = proxy.chat(json!({})).await;
        assert_eq!(answer.header("x-trunkline-attempts"), "b:ok");
    });
}

/// The labels of the route's series.
const ROUTE: &str = r#"{namespace="default",route="route"}"#;

#[test]
fn requests_wait_for_the_first_pod_and_are_served_when_it_comes() {
    local(async {
        let pod = Provider::start(|_| Play::chat("awake")).await;
        let queue = json!({"queue": {"maxRequests": 2, "maxWait": "5s"}});
        let proxy = Rc::new(Setup::default().service(&[]).with(queue).start());
        let served = Rc::new(Cell::new(0));
        for _ in 0..2 {
            let (proxy, served) = (Rc::clone(&proxy), Rc::clone(&served));
            spawn_local(async move {
                let answer = proxy.chat(json!({})).await;
                assert_eq!(answer.header("x-trunkline-attempts"), "a:ok", "{}", answer.body);
                served.set(served.get() + 1);
            });
        }
        sleep(50 * MILLIS).await;
        // The line is full, and says so in the caller's own shape.
        let refused = proxy.chat(json!({})).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "5"), "{}", refused.body);
        assert_eq!(refused.json()["error"]["code"], "queue_full");
        assert_eq!(served.get(), 0);
        proxy.pods(&[pod.address]);
        until(|| served.get() == 2).await;
        assert_eq!(pod.asked(), 2);
        // Who was refused never stood in the line.
        let metrics = proxy.metrics.render();
        assert!(metrics.contains(&format!("trunkline_queue_seconds_count{ROUTE} 2")), "{metrics}");
    });
}

#[test]
fn a_wait_in_vain_ends_and_a_client_that_leaves_frees_its_place() {
    local(async {
        let queue = json!({"queue": {"maxRequests": 1, "maxWait": "300ms"}});
        let proxy = Setup::default().service(&[]).with(queue).start();
        let left = timeout(50 * MILLIS, proxy.chat(json!({}))).await;
        assert!(left.is_err());
        sleep(50 * MILLIS).await;
        let sent = Instant::now();
        let answer = proxy.chat(json!({})).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        let waited = format!("trunkline_queue_seconds_count{ROUTE} 2");
        assert!(proxy.metrics.render().contains(&waited), "also who left");
        assert!((250 * MILLIS..3000 * MILLIS).contains(&sent.elapsed()), "{:?}", sent.elapsed());
    });
}
