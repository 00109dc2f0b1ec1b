//! Demand that a Prometheus server knows: each query is asked again and again, and its last number is kept.
//!
//! For model servers that are asked past the proxies too. Which server is the operator's to say, not an
//! autoscaler's: whoever may write an autoscaler must not make the operator call what he likes. A number
//! that is old is none, and without one the last decision holds.

use std::{collections::BTreeMap, time::Duration};

use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::{Client, Config, client::Body};
use serde::Deserialize;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::autoscale::Reading;

/// How often a query is asked, how long an answer may take, and until when a number counts.
const EVERY: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(4);
const OLD: Duration = Duration::from_secs(15);

/// The longest answer: one number needs less.
const MOST_BYTES: usize = 64 << 10;

/// What a query gave, or why nothing, and when.
type Latest = Option<(Instant, Result<f64, String>)>;

/// The queries of all autoscalers.
pub(super) struct Prometheus {
    client: Result<Client, String>,
    asked: BTreeMap<String, Asked>,
}

/// A query that is asked for as long as this lives.
struct Asked {
    task: AbortHandle,
    latest: watch::Receiver<Latest>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prometheus {
    /// Asks the server at this base URL, if there is one.
    pub(super) fn new(url: Option<&str>) -> Self {
        let client = url
            .ok_or_else(|| "the operator was started without --prometheus-url".to_owned())
            .and_then(|url| url.parse().map_err(|error| format!("--prometheus-url: {error}")))
            .and_then(|url| {
                let mut config = Config::new(url);
                config.default_retry = false;
                Client::try_from(config).map_err(|error| format!("--prometheus-url: {error}"))
            });
        Self { client, asked: BTreeMap::new() }
    }

    /// Asks these queries from now on, and no others.
    pub(super) fn follow<'a>(&mut self, queries: impl Iterator<Item = &'a str>) {
        let Ok(client) = &self.client else { return };
        let mut kept = std::mem::take(&mut self.asked);
        for query in queries {
            let asked = kept.remove(query).unwrap_or_else(|| Asked::new(client.clone(), query));
            self.asked.insert(query.to_owned(), asked);
        }
    }

    /// The last number of a query as a reading, or why there is none.
    pub(super) fn reading(&self, query: &str) -> (Reading, Option<String>) {
        let none = Reading { proxies: 1, ..Reading::default() };
        if let Err(why) = &self.client {
            return (none, Some(why.clone()));
        }
        let latest = self.asked.get(query).and_then(|asked| asked.latest.borrow().clone());
        match latest {
            Some((at, Ok(number))) if at.elapsed() < OLD => {
                (Reading { in_flight: whole(number), answered: 1, ..none }, None)
            }
            Some((_, Err(why))) => (none, Some(why)),
            Some(_) | None => (none, Some("Prometheus has not answered yet".to_owned())),
        }
    }
}

impl Asked {
    fn new(client: Client, query: &str) -> Self {
        let (tell, latest) = watch::channel(None);
        let query = query.to_owned();
        let task = tokio::spawn(async move {
            loop {
                let asked = timeout(ANSWER, ask(&client, &query)).await;
                let number =
                    asked.unwrap_or_else(|_late| Err(format!("no answer within {ANSWER:?}")));
                let number = number.map_err(|why| format!("Prometheus: {why}"));
                tell.send_replace(Some((Instant::now(), number)));
                sleep(EVERY).await;
            }
        });
        Self { task: task.abort_handle(), latest }
    }
}

async fn ask(client: &Client, query: &str) -> Result<f64, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let query = form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>();
    let request = Request::get(format!("/api/v1/query?query={query}")).body(Body::empty());
    let request = request.map_err(|error| told(&error))?;
    let response = client.send(request).await.map_err(|error| told(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| told(&error))?.to_bytes();
    if status.is_success() {
        return number(&body);
    }
    // Why a query is refused stands in the same form.
    let why = serde_json::from_slice::<Answer>(&body).map(|answer| answer.error);
    Err(format!("it answers {status} {}", why.unwrap_or_default()).trim_end().to_owned())
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Sample),
    Vector(Vec<Series>),
}

#[derive(Deserialize)]
struct Series {
    value: Sample,
}

/// A time, and a number as a text.
type Sample = (f64, String);

/// The one number in an answer of `/api/v1/query`
/// (<https://prometheus.io/docs/prometheus/latest/querying/api/>).
fn number(body: &[u8]) -> Result<f64, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("its answer is unreadable: {error}"))?;
    let (_, text) = match answer.data {
        Some(Data::Scalar(sample)) => sample,
        Some(Data::Vector(mut series)) => match (series.pop(), series.len()) {
            (Some(only), 0) => only.value,
            (None, _) => return Err("the query gives nothing".to_owned()),
            (Some(_), more) => {
                return Err(format!("the query gives {} series; sum them up", more + 1));
            }
        },
        None => return Err("the query gives no number".to_owned()),
    };
    let number: f64 = text.parse().map_err(|_odd| format!("the query gives `{text}`"))?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(format!("the query gives {text}, which is no number of requests"))
    }
}

/// Requests, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not below zero, and saturating"
)]
fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;

    use super::*;

    fn vector(values: &[&str]) -> String {
        let series =
            values.iter().map(|value| format!(r#"{{"metric":{{}},"value":[1.5,"{value}"]}}"#));
        let series = series.collect::<Vec<_>>().join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
    }

    #[test]
    fn one_number_of_requests_is_taken_and_nothing_else() {
        assert_eq!(number(vector(&["12.5"]).as_bytes()), Ok(12.5));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}"#;
        assert_eq!(number(scalar.as_bytes()), Ok(3.0));
        for (answer, why) in [
            (vector(&[]), "nothing"),
            (vector(&["1", "2"]), "2 series"),
            (vector(&["NaN"]), "no number of requests"),
            (vector(&["+Inf"]), "no number of requests"),
            (vector(&["-1"]), "no number of requests"),
            ("{}".to_owned(), "no number"),
            ("<html>".to_owned(), "unreadable"),
        ] {
            let told = number(answer.as_bytes()).unwrap_err();
            assert!(told.contains(why), "{answer}: {told}");
        }
    }

    /// A server that answers so, and how often it was asked for what.
    async fn server(status: u16, body: String) -> (String, watch::Receiver<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, told) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, body) = (seen.clone(), body.clone());
                let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                    seen.send_modify(|all| all.push(request.uri().to_string()));
                    let answer = http::Response::builder().status(status);
                    let answer = answer.body(Full::new(Bytes::from(body.clone())));
                    std::future::ready(Ok::<_, Infallible>(answer.unwrap()))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        (url, told)
    }

    #[tokio::test]
    async fn a_query_is_asked_as_it_was_written_and_its_number_is_in_flight() {
        let (url, mut seen) = server(200, vector(&["7.2"])).await;
        let mut prometheus = Prometheus::new(Some(&url));
        let query = r#"sum(running{app="a b"}) + 1"#;
        assert!(prometheus.reading(query).1.is_some(), "not yet");
        prometheus.follow([query].into_iter());
        let latest = &mut prometheus.asked.get_mut(query).unwrap().latest;
        latest.changed().await.unwrap();
        let (reading, why) = prometheus.reading(query);
        assert_eq!((reading.in_flight, reading.answered, reading.proxies, why), (8, 1, 1, None));
        let asked = seen.borrow_and_update()[0].clone();
        assert_eq!(asked, "/api/v1/query?query=sum%28running%7Bapp%3D%22a+b%22%7D%29+%2B+1");
        prometheus.follow(std::iter::empty());
        assert!(prometheus.asked.is_empty());
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_and_is_no_number() {
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        let (url, _seen) = server(400, refused.to_owned()).await;
        for (url, why) in [
            (Some(&*url), "400 Bad Request parse error"),
            (Some("http://127.0.0.1:1"), "Prometheus: "),
            (None, "without --prometheus-url"),
        ] {
            let mut prometheus = Prometheus::new(url);
            prometheus.follow(["up"].into_iter());
            if let Some(asked) = prometheus.asked.get_mut("up") {
                asked.latest.changed().await.unwrap();
            }
            let (reading, told) = prometheus.reading("up");
            let told = told.unwrap();
            assert!(reading.answered == 0 && told.contains(why), "{told}");
        }
    }
}
