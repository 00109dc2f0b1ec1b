//! Bodies of answers: whole, streamed in their time, and broken as told.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Event,
    behaviour::{Behaviour, Break, Fault},
    dice,
};

/// Longer than anybody waits.
pub(super) const FOREVER: Duration = Duration::from_hours(24);

/// Until what was written before a cut is on the wire, and not in a buffer that is thrown away.
const FLUSH: Duration = Duration::from_millis(10);

pub(super) type Out = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn whole(status: u16, body: &Value) -> Response<Out> {
    let full = Full::new(Bytes::from(body.to_string()));
    response(status, "application/json", full.map_err(|never: Infallible| match never {}))
}

fn response<B>(status: u16, kind: &'static str, body: B) -> Response<Out>
where
    B: hyper::body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    let mut response = Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A whole answer, broken in the middle where the behaviour says so.
pub(super) fn broken(body: &Value, behaviour: &Behaviour) -> Response<Out> {
    let Some(Fault::Break(how, _)) = behaviour.fault else { return whole(200, body) };
    let text = body.to_string();
    let half = text.get(..text.len() / 2).unwrap_or("{").to_owned();
    let frame = |text: String| Ok(Frame::data(Bytes::from(text)));
    match how {
        Break::ErrorEvent | Break::NoEnd => whole(200, body),
        Break::Malformed => {
            let full = Full::new(Bytes::from(half));
            response(200, "application/json", full.map_err(|never: Infallible| match never {}))
        }
        Break::Cut | Break::Stall => {
            let wait = if how == Break::Cut { FLUSH } else { FOREVER };
            let steps = stream::unfold(Some(half), move |half| async move {
                if let Some(half) = half {
                    return Some((frame(half), None));
                }
                Some((cut(wait).await, None))
            });
            response(200, "application/json", StreamBody::new(steps))
        }
    }
}

/// The end of a connection, after a wait.
async fn cut<T>(wait: Duration) -> io::Result<T> {
    sleep(wait).await;
    Err(io::Error::other("cut on purpose"))
}

/// How a stream goes on.
pub(super) struct Pace {
    pub behaviour: Behaviour,
    /// Where the dice of this answer lie.
    pub place: [u64; 2],
    pub error: String,
}

/// Sends events one after the other and ends as told.
pub(super) fn streamed(events: Vec<Event>, pace: Pace) -> Response<Out> {
    let (last, mut tokens) = (events.len().saturating_sub(1), 0);
    let plan = events.into_iter().enumerate().map(move |(at, event)| {
        let before = tokens;
        tokens += usize::from(event.token);
        (at == last, before, event)
    });
    let steps = stream::unfold(Some((plan, pace)), |state| async move {
        let (mut plan, pace) = state?;
        let (is_last, before, event) = plan.next()?;
        let frame = |text: String| Ok(Frame::data(Bytes::from(text)));
        if event.token && before > 0 {
            let roll = dice([pace.place[0], pace.place[1], before as u64, 1]);
            sleep(pace.behaviour.jittered(pace.behaviour.pace, roll)).await;
        }
        match pace.behaviour.fault {
            Some(Fault::Break(Break::NoEnd, _)) if is_last => None,
            Some(Fault::Break(how, after))
                if how != Break::NoEnd && before >= after && (event.token || is_last) =>
            {
                let end = match how {
                    Break::Cut => cut(FLUSH).await,
                    Break::ErrorEvent => frame(pace.error),
                    Break::Malformed => frame("data: {oops\n\n".to_owned()),
                    Break::NoEnd => return None,
                    Break::Stall => cut(FOREVER).await,
                };
                Some((end, None))
            }
            _ => Some((frame(event.text), Some((plan, pace)))),
        }
    });
    response(200, "text/event-stream", StreamBody::new(steps))
}
