//! The story of a request, a phase a line.
//!
//! ```text
//! admit, authenticate ─► facts ─► route ─► select ─► attempt ─► relay ─► settle
//!                                             ▲         │
//!                                             └─ retry ◄┘   until the first byte goes out
//! ```
//!
//! One table serves a request from start to end, and one [`Ledger`] follows it; whoever holds the
//! ledger last closes it, also when the client has left.

use std::{convert::Infallible, fmt::Write, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    admit::{self, Asked, BodyError},
    attempt::Content,
    authenticate::{self, Known},
    error,
    facts::Chat,
    failover::{self, Served},
    head::{self, BadHead},
    headers::{self, name},
    relay::{Body, Limits, Relay},
    settle::Ledger,
    state::{Bound, Worker},
};
use crate::{
    dialect::{Api, ApiError, ErrorKind, Loss, Model, View},
    observe::Outcome,
    select::SloPart,
    table::{Caller, Route, Table},
};

/// Answers one request. Never fails: what cannot be answered is told to the client in its own shape.
///
/// # Errors
/// None; the type says so.
pub async fn respond(
    worker: Rc<Worker>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let mut ledger = Ledger::open(Rc::clone(&worker));
    if let Err(bad) = head::check(&head) {
        return Ok(close(admit::caller(&head.headers), bad, ledger));
    }
    let asked = match admit::asked(&head) {
        Ok(asked) => asked,
        Err((api, refused)) => return Ok(reject(api, &refused, of_kind(refused.kind), ledger)),
    };
    if let Asked::Chat(api) = asked {
        ledger.api(api);
        ledger.trace(&head.headers);
    }
    let bound = worker.bind();
    let known = authenticate::known(&bound.table, &head.headers, worker.shared.anonymous);
    let known = match known {
        Ok(known) => known,
        Err(refused) => {
            return Ok(reject(asked.api(), &refused, of_kind(refused.kind), ledger));
        }
    };
    if let Known::Consumer(consumer, key) = known {
        ledger.consumer(consumer, &key.name);
    }
    Ok(match asked {
        Asked::ListModels(api) => {
            let bytes = api.client().list_models(&listing(&bound.table, api, known.caller()));
            answer(api, bytes, ledger)
        }
        Asked::ShowModel(api, id) => {
            show_model(&bound.table, known, api, &id, &head.headers, ledger)
        }
        Asked::Chat(api) => match admit::body(&head.headers, body, worker.shared.limits).await {
            // Boxed: a connection keeps the place of its request for as long as the answer streams,
            // and what stands in the box is needed only until it begins.
            Ok(body) => {
                Box::pin(chat(&worker, &bound, known, api, head.headers, body, ledger)).await
            }
            Err(BodyError::Refused(refused)) => {
                reject(api, &refused, of_kind(refused.kind), ledger)
            }
            Err(BodyError::Gone) => Response::new(Body::full("")),
        },
    })
}

/// Refuses a head that can be read in two ways. What follows on its connection cannot be trusted.
fn close(api: Api, bad: BadHead, ledger: Ledger) -> Response<Body> {
    let told = ApiError::new(ErrorKind::InvalidRequest, "bad_request_head", bad.to_string());
    let mut response = reject(api, &told, Outcome::ClientError, ledger);
    if bad == BadHead::TooMany {
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    }
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Phases 2 to 6 of a chat.
async fn chat(
    worker: &Worker,
    bound: &Bound,
    known: Known<'_>,
    api: Api,
    headers: HeaderMap,
    body: Bytes,
    mut ledger: Ledger,
) -> Response<Body> {
    let chat = match Chat::read(api, headers, body) {
        Ok(chat) => chat,
        Err(refused) => return reject(api, &refused, Outcome::ClientError, ledger),
    };
    ledger.chat(&chat);
    let Some((at, route)) = bound
        .table
        .position(api, &chat.model, &chat.headers, known.caller())
        .and_then(|at| Some((at, bound.table.routes().get(at)?)))
    else {
        let refused = no_route(&bound.table, known, api, &chat.model, &chat.headers);
        return reject(api, &refused, of_kind(refused.kind), ledger);
    };
    let handles = worker.handles(bound, at);
    ledger.route(route, Rc::clone(&handles));
    if route.paused {
        return reject(api, &error::paused(&chat.model), Outcome::Unavailable, ledger);
    }
    let view = View {
        model: chat.model.clone(),
        created: u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0),
        include_usage: chat.wants_usage(),
    };
    let asked = (&chat, known.caller().preference());
    match failover::serve(worker, route, &handles, asked, &view, &mut ledger).await {
        Ok(served) => relay(served, route, &chat, bound.table.revision, ledger),
        Err(why) => {
            let (told, outcome) =
                error::of_no_answer(why, &chat.model, route.failover.total_budget);
            let mut response = reject(api, &told, outcome, ledger);
            insert(response.headers_mut(), name::REVISION, &bound.table.revision.to_string());
            response
        }
    }
}

/// Begins the client's answer: from here on nothing is retried.
fn relay(
    served: Served,
    route: &Route,
    chat: &Chat,
    revision: u64,
    mut ledger: Ledger,
) -> Response<Body> {
    let Served { target, answer, losses, ends, relaxed } = served;
    let mut response = Response::new(Body::Full(None));
    let to = response.headers_mut();
    own_headers(to, chat.api, &ledger);
    headers::incoming(&answer.headers, chat.api, &target, to);
    insert(to, name::TARGET, &target.name);
    insert(to, name::REVISION, &revision.to_string());
    if !losses.is_empty() {
        insert(to, name::DROPPED, &dropped(&losses));
    }
    let given_up: Vec<_> =
        SloPart::given_up(&route.choosing.slo, relaxed).map(SloPart::as_str).collect();
    if !given_up.is_empty() {
        insert(to, name::SLO_RELAXED, &given_up.join(", "));
        ledger.slo_relaxed();
    }
    let kind = if chat.stream { headers::event_stream() } else { headers::json() };
    to.insert(header::CONTENT_TYPE, kind);
    if chat.stream {
        to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    ledger.status(200);
    *response.body_mut() = match answer.content {
        Content::Whole(bytes, usage) => {
            ledger.usage(usage);
            if let Some(cost) = ledger.cost() {
                insert(response.headers_mut(), name::COST, &cost.total().to_string());
            }
            ledger.sent(bytes.len());
            ledger.close(Outcome::Ok);
            Body::full(bytes)
        }
        Content::Begun { ready, rest, way } => {
            let idle = target.timeouts.stream_idle;
            let limits = Limits { idle, ends, last: Instant::now(), complete: None };
            Body::Relay(Box::new(Relay::new(rest, way, ready, limits, target, ledger)))
        }
    };
    response
}

/// Tells the client that there is no answer.
fn reject(api: Api, told: &ApiError, outcome: Outcome, mut ledger: Ledger) -> Response<Body> {
    let client = api.client();
    let bytes = client.encode_error(told, ledger.request_id());
    let status = client.status(told.kind);
    let mut response = Response::new(Body::Full(None));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let to = response.headers_mut();
    own_headers(to, api, &ledger);
    to.insert(header::CONTENT_TYPE, headers::json());
    if told.kind == ErrorKind::Authentication {
        to.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(after) = told.retry_after {
        insert(to, header::RETRY_AFTER, &after.as_secs_f64().ceil().to_string());
    }
    ledger.status(status);
    ledger.sent(bytes.len());
    ledger.close(outcome);
    *response.body_mut() = Body::full(bytes);
    response
}

fn answer(api: Api, bytes: Vec<u8>, mut ledger: Ledger) -> Response<Body> {
    let mut response = Response::new(Body::Full(None));
    own_headers(response.headers_mut(), api, &ledger);
    response.headers_mut().insert(header::CONTENT_TYPE, headers::json());
    ledger.status(200);
    ledger.sent(bytes.len());
    ledger.close(Outcome::Ok);
    *response.body_mut() = Body::full(bytes);
    response
}

fn listing<'a>(table: &'a Table, api: Api, caller: Caller<'_>) -> Vec<Model<'a>> {
    let models = table.models(api, caller).into_iter();
    models
        .map(|(id, route)| Model { id, owner: &route.id.namespace, created: route.created })
        .collect()
}

fn show_model(
    table: &Table,
    known: Known<'_>,
    api: Api,
    id: &str,
    headers: &HeaderMap,
    ledger: Ledger,
) -> Response<Body> {
    let Some(route) = table.find(api, id, headers, known.caller()) else {
        let refused = no_route(table, known, api, id, headers);
        return reject(api, &refused, of_kind(refused.kind), ledger);
    };
    let model = Model { id, owner: &route.id.namespace, created: route.created };
    answer(api, api.client().show_model(&model), ledger)
}

/// What is said to a caller for whom there is no route. That another namespace has one is not told.
fn no_route(
    table: &Table,
    known: Known<'_>,
    api: Api,
    model: &str,
    headers: &HeaderMap,
) -> ApiError {
    match known {
        Known::Consumer(consumer, _) if table.is_kept_from(api, model, headers, consumer) => {
            error::forbidden(model, &consumer.id)
        }
        Known::Consumer(..) | Known::Anonymous => error::unknown_model(model),
    }
}

fn own_headers(to: &mut HeaderMap, api: Api, ledger: &Ledger) {
    insert(to, name::REQUEST_ID, ledger.request_id());
    if api == Api::Messages {
        insert(to, name::ANTHROPIC_REQUEST_ID, ledger.request_id());
    }
    if !ledger.attempts().is_empty() {
        insert(to, name::ATTEMPTS, ledger.attempts());
    }
}

fn insert(to: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        to.insert(name, value);
    }
}

/// `seed, temperature;clamped`: each field once; without a word it was left out.
fn dropped(losses: &[Loss]) -> String {
    let mut text = String::new();
    for loss in losses {
        let comma = if text.is_empty() { "" } else { ", " };
        // A field's name may come from a client; only what may stand in a header goes out.
        let field = admit::bounded(&loss.field).replace([',', ';'], "");
        let field: String = field.chars().filter(char::is_ascii_graphic).collect();
        let _written = write!(text, "{comma}{field}");
        if loss.kind != crate::dialect::LossKind::Dropped {
            let _written = write!(text, ";{}", loss.kind.as_str());
        }
    }
    text
}

/// Under which outcome a request is counted that was rejected before it had a route.
const fn of_kind(kind: ErrorKind) -> Outcome {
    match kind {
        ErrorKind::Authentication => Outcome::Unauthorized,
        ErrorKind::Permission => Outcome::Forbidden,
        ErrorKind::Billing | ErrorKind::InvalidRequest | ErrorKind::MethodNotAllowed => {
            Outcome::ClientError
        }
        ErrorKind::NotFound => Outcome::NotFound,
        ErrorKind::Overloaded => Outcome::Overloaded,
        ErrorKind::RateLimited => Outcome::RateLimited,
        ErrorKind::TooLarge => Outcome::TooLarge,
        ErrorKind::Timeout => Outcome::Timeout,
        ErrorKind::Upstream => Outcome::UpstreamError,
        ErrorKind::Internal => Outcome::Internal,
        ErrorKind::Unavailable => Outcome::Unavailable,
    }
}
