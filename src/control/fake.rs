//! An API server in the test's own process: objects, lists, watches, conflicts and server-side
//! apply, as far as the operator uses them, and faults at will.
//!
//! It is a witness for what the operator does with answers; what a real API server answers is shown
//! in `tests/cluster`.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a fault does with a request.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Answers with an error.
    Status(u16),
    /// Never answers.
    Hang,
    /// Answers a watch with these lines, and then ends or says nothing more.
    Lines(Vec<Value>, End),
    /// Answers a list with these objects under this version.
    List(u64, Vec<Value>),
}

/// How a watch goes on after its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closes,
    Silent,
}

/// A request as faults and tests see it: `GET /api/v1/… `, with its query.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Value,
}

impl Seen {
    pub(super) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    pub(super) fn is_list(&self) -> bool {
        self.method == Method::GET && !self.is_watch() && self.query.contains("limit=")
    }
}

type Faults = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<String, Value>,
    history: Vec<(String, &'static str, Value)>,
    watches: Vec<(Collection, mpsc::UnboundedSender<Bytes>)>,
    seen: Vec<Seen>,
    fault: Option<Faults>,
}

/// What a list or watch covers.
#[derive(Clone, Debug)]
struct Collection {
    prefix: String,
    namespace: Option<String>,
    resource: String,
    name: Option<String>,
    labels: Vec<(String, String)>,
}

impl Collection {
    fn holds(&self, path: &str, object: &Value) -> bool {
        let Some(place) = Place::of(path) else { return false };
        place.prefix == self.prefix
            && place.resource == self.resource
            && self.namespace.as_ref().is_none_or(|it| Some(it) == place.namespace.as_ref())
            && self.name.as_ref().is_none_or(|it| Some(it) == place.name.as_ref())
            && self.labels.iter().all(|(key, value)| {
                object["metadata"]["labels"][key].as_str() == Some(value.as_str())
            })
    }
}

struct Place {
    prefix: String,
    namespace: Option<String>,
    resource: String,
    name: Option<String>,
    status: bool,
}

impl Place {
    fn of(path: &str) -> Option<Self> {
        let mut parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let head = if *parts.first()? == "api" { 2 } else { 3 };
        let prefix = parts.drain(..head).collect::<Vec<_>>().join("/");
        let namespaced = parts.len() > 2 && parts[0] == "namespaces";
        let namespace = namespaced.then(|| parts[1].to_owned());
        let rest = &parts[if namespaced { 2 } else { 0 }..];
        Some(Self {
            prefix,
            namespace,
            resource: (*rest.first()?).to_owned(),
            name: rest.get(1).map(|name| (*name).to_owned()),
            status: rest.get(2) == Some(&"status"),
        })
    }
}

/// The server; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(super) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let seen = Seen {
                    method: parts.method,
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                let answer = fake.answer(&seen);
                match answer {
                    Some(answer) => Ok::<_, Infallible>(answer),
                    None => std::future::pending().await,
                }
            }
        });
        Client::new(service, "default")
    }

    /// Decides each request from now on; `None` is no fault.
    pub(super) fn fault(&self, fault: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        self.0.lock().unwrap().fault = Some(Box::new(fault));
    }

    pub(super) fn heal(&self) {
        self.0.lock().unwrap().fault = None;
    }

    /// Every request so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    pub(super) fn count(&self, what: impl Fn(&Seen) -> bool) -> usize {
        self.0.lock().unwrap().seen.iter().filter(|seen| what(seen)).count()
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Creates or replaces an object, as `kubectl` would.
    pub(super) fn put(&self, path: &str, object: Value) -> Value {
        self.0.lock().unwrap().store(path, object)
    }

    pub(super) fn delete(&self, path: &str) {
        self.0.lock().unwrap().remove(path);
    }

    /// Deletes an object of which no watch is told.
    pub(super) fn delete_silently(&self, path: &str) {
        let mut state = self.0.lock().unwrap();
        let watches = std::mem::take(&mut state.watches);
        state.remove(path);
        state.history.clear();
        state.watches = watches;
    }

    /// Ends every watch.
    pub(super) fn hang_up(&self) {
        self.0.lock().unwrap().watches.clear();
    }

    fn answer(&self, seen: &Seen) -> Option<Answer> {
        let mut state = self.0.lock().unwrap();
        state.seen.push(seen.clone());
        let mut fault = state.fault.take();
        let decided = fault.as_mut().and_then(|fault| fault(seen));
        state.fault = fault;
        match decided {
            Some(Fault::Status(code)) => return Some(error(code)),
            Some(Fault::Hang) => return None,
            Some(Fault::Lines(lines, end)) => {
                let lines: Vec<_> = lines.into_iter().map(|line| line_of(&line)).collect();
                let lines = stream::iter(lines);
                return Some(match end {
                    End::Closes => body(lines),
                    End::Silent => body(lines.chain(stream::pending())),
                });
            }
            Some(Fault::List(version, items)) => return Some(list(version, &items)),
            None => {}
        }
        let place = Place::of(&seen.path)?;
        Some(state.serve(seen, &place))
    }
}

impl State {
    fn serve(&mut self, seen: &Seen, place: &Place) -> Answer {
        let object = seen.path.trim_end_matches("/status").to_owned();
        match (&seen.method, &place.name) {
            (&Method::GET, Some(_)) => match self.objects.get(&object) {
                Some(found) => json_answer(200, found),
                None => error(404),
            },
            (&Method::GET, None) if seen.is_watch() => self.watch(seen, place),
            (&Method::GET, None) => {
                let collection = collection(seen, place);
                let found = self.objects.iter().filter(|(path, it)| collection.holds(path, it));
                let items: Vec<_> = found.map(|(_, object)| object.clone()).collect();
                list(self.version, &items)
            }
            (&Method::POST, _) => {
                let path = format!("{}/{}", seen.path, name_of(&seen.body));
                if self.objects.contains_key(&path) {
                    return error(409);
                }
                json_answer(201, &self.store(&path, seen.body.clone()))
            }
            (&Method::PUT, _) => {
                let given = &seen.body["metadata"]["resourceVersion"];
                match self.objects.get(&object) {
                    None => error(404),
                    Some(old)
                        if !given.is_null() && old["metadata"]["resourceVersion"] != *given =>
                    {
                        error(409)
                    }
                    Some(_) => json_answer(200, &self.store(&object, seen.body.clone())),
                }
            }
            (&Method::PATCH, _) => {
                let Some(old) = self.objects.get(&object) else { return error(404) };
                let mut new = old.clone();
                if place.status {
                    new["status"] = seen.body["status"].clone();
                } else {
                    new["spec"] = seen.body["spec"].clone();
                }
                json_answer(200, &self.store(&object, new))
            }
            (&Method::DELETE, _) => {
                self.remove(&object);
                json_answer(200, &json!({"kind": "Status", "status": "Success"}))
            }
            _ => error(405),
        }
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let version = self.version;
        let old = self.objects.get(path);
        let place = Place::of(path).unwrap();
        let meta = &mut object["metadata"];
        meta["name"] = json!(place.name.unwrap());
        if let Some(namespace) = place.namespace {
            meta["namespace"] = json!(namespace);
        }
        meta["resourceVersion"] = json!(version.to_string());
        meta["uid"] =
            old.map_or_else(|| json!(format!("uid-{version}")), |it| it["metadata"]["uid"].clone());
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let same = old.is_some_and(|old| old["spec"] == object["spec"]);
        let generation = old.and_then(|old| old["metadata"]["generation"].as_i64()).unwrap_or(0);
        object["metadata"]["generation"] = json!(generation + i64::from(!same));
        if object["status"].is_null()
            && let Some(old) = old.filter(|old| !old["status"].is_null())
        {
            object["status"] = old["status"].clone();
        }
        let what = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.objects.insert(path.to_owned(), object.clone());
        self.tell(path, what, &object);
        object
    }

    fn remove(&mut self, path: &str) {
        let Some(mut object) = self.objects.remove(path) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell(path, "DELETED", &object);
    }

    fn tell(&mut self, path: &str, what: &'static str, object: &Value) {
        self.history.push((path.to_owned(), what, object.clone()));
        let line = line_of(&json!({"type": what, "object": object}));
        self.watches.retain(|(collection, watch)| {
            !collection.holds(path, object) || watch.send(line.clone()).is_ok()
        });
    }

    fn watch(&mut self, seen: &Seen, place: &Place) -> Answer {
        let collection = collection(seen, place);
        let from: u64 =
            parameter(seen, "resourceVersion").and_then(|it| it.parse().ok()).unwrap_or(0);
        let missed = self.history.iter().filter(|(path, _, object)| {
            let version = object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>();
            version.unwrap() > from && collection.holds(path, object)
        });
        let missed: Vec<_> = missed
            .map(|(_, what, object)| line_of(&json!({"type": what, "object": object})))
            .collect();
        let (send, receive) = mpsc::unbounded_channel();
        self.watches.push((collection, send));
        let live = stream::unfold(receive, |mut receive| async move {
            let line = receive.recv().await?;
            Some((line, receive))
        });
        body(stream::iter(missed).chain(live))
    }
}

fn parameter(seen: &Seen, name: &str) -> Option<String> {
    let mut pairs = seen.query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.find(|(key, _)| *key == name)?.1;
    Some(value.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/"))
}

fn collection(seen: &Seen, place: &Place) -> Collection {
    let labels = parameter(seen, "labelSelector").unwrap_or_default();
    Collection {
        prefix: place.prefix.clone(),
        namespace: place.namespace.clone(),
        resource: place.resource.clone(),
        name: parameter(seen, "fieldSelector")
            .and_then(|it| it.strip_prefix("metadata.name=").map(str::to_owned)),
        labels: labels
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_else(|| object["metadata"]["generateName"].as_str().unwrap())
}

fn line_of(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn body(lines: impl stream::Stream<Item = Bytes> + Send + 'static) -> Answer {
    let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn list(version: u64, items: &[Value]) -> Answer {
    let version = version.to_string();
    json_answer(
        200,
        &json!({"kind": "List", "metadata": {"resourceVersion": version}, "items": items}),
    )
}

fn json_answer(code: u16, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn error(code: u16) -> Answer {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "Failure",
    };
    json_answer(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "a fault",
            "reason": reason, "code": code}),
    )
}
