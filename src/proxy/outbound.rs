//! What one target is sent: the body and the path of an upstream request.
//!
//! Two ways. To a target of the client's own dialect the client's bytes go as they came, with the
//! model's name put in and, where a stream has to be asked for its usage, that question. To any
//! other the request goes through the common form, and what is lost on the way is named.

use bytes::Bytes;
use http::HeaderValue;
use smallvec::SmallVec;

use super::facts::Chat;
use crate::{
    dialect::{
        self, Api, Client, Encoded, Loss, Refusal, RequestError, anthropic, openai,
        peek::{self, Edit, Peek, PeekError, Pieces},
    },
    table::Target,
};

/// A request that is ready to be sent, but for its headers.
#[derive(Debug)]
pub struct Outbound {
    /// The path below the host, with query.
    pub path: String,
    /// The body, in pieces.
    pub body: Pieces,
    /// What the target does not get as the client wrote it.
    pub losses: Vec<Loss>,
    /// Whether the answer needs translation.
    pub translated: bool,
    /// Whether usage was asked for that the client did not ask for.
    pub usage_added: bool,
    /// What the provider is told of the trace; what the client said when none.
    pub traceparent: Option<HeaderValue>,
}

/// Why a target cannot be asked at all.
#[derive(Debug)]
pub enum Unsendable {
    /// The client's request is malformed, whatever the target.
    Malformed(RequestError),
    /// This target cannot do what is asked.
    Refused(Refusal),
}

/// Writes the request for one target.
///
/// # Errors
/// When the request is malformed, or the target cannot serve it.
pub fn outbound(chat: &Chat, target: &Target) -> Result<Outbound, Unsendable> {
    let codec = target.dialect().upstream();
    let path = codec.path(&target.model, chat.stream);
    let path = [&*target.credential.endpoint.base_path, &path].concat();
    if chat.api.dialect() == target.dialect() {
        let Untouched { body, losses, usage_added } = untouched(chat, target)?;
        return Ok(Outbound {
            path,
            body,
            losses,
            translated: false,
            usage_added,
            traceparent: None,
        });
    }
    let request = chat.common().map_err(|error| Unsendable::Malformed(error.clone()))?;
    let into = dialect::Target {
        model: &target.model,
        traits: &target.traits,
        fetches_urls: target.credential.provider.fetches_urls,
    };
    let client = chat.api.client();
    let encoded = codec.encode_request(request, &into).map_err(|refusal| {
        Unsendable::Refused(Refusal { param: client.own_name(&refusal.param), ..refusal })
    })?;
    let losses = in_own_words(client, encoded.losses);
    let body = SmallVec::from_iter([overridden(encoded.body, target)?]);
    Ok(Outbound { path, body, losses, translated: true, usage_added: false, traceparent: None })
}

/// Losses under the names that the client knows, each once.
pub fn in_own_words(client: &dyn Client, losses: Vec<Loss>) -> Vec<Loss> {
    let mut own: Vec<Loss> = Vec::with_capacity(losses.len());
    for loss in losses {
        let loss = Loss { field: client.own_name(&loss.field).into(), ..loss };
        if !own.contains(&loss) {
            own.push(loss);
        }
    }
    own
}

/// A request that needs no translation.
struct Untouched {
    body: Pieces,
    losses: Vec<Loss>,
    usage_added: bool,
}

/// The client's own bytes with the few edits that they need.
fn untouched(chat: &Chat, target: &Target) -> Result<Untouched, Unsendable> {
    // A conversation that has been elsewhere carries what this provider refuses.
    let cleaned = match chat.api {
        _ if !target.credential.provider.own_fields_only => None,
        Api::ChatCompletions => openai::marks::cleaned(&chat.body),
        Api::Messages => anthropic::marks::cleaned(&chat.body),
    };
    let Some(Encoded { body, losses }) = cleaned else {
        return spliced(chat, &chat.body, &chat.peek, target, Vec::new());
    };
    let peek = peek::peek(&body).map_err(malformed)?;
    spliced(chat, &body, &peek, target, losses)
}

/// A body with the model's name and the question for usage put in.
fn spliced(
    chat: &Chat,
    body: &Bytes,
    peek: &Peek,
    target: &Target,
    losses: Vec<Loss>,
) -> Result<Untouched, Unsendable> {
    let mut edits: SmallVec<[Edit; 2]> = SmallVec::new();
    if let Some(at) = peek.model.clone()
        && chat.model != *target.model
    {
        edits.push(Edit { at, with: Bytes::from(["\"", &*target.model, "\""].concat()) });
    }
    let mut usage_added = false;
    if chat.stream
        && target.credential.provider.ask_usage
        && let Some(edit) = peek::ask_usage(body, peek)
    {
        edits.push(edit);
        usage_added = true;
    }
    edits.sort_by_key(|edit| edit.at.start);
    let mut body = peek::splice(body, &edits);
    if !target.overrides.is_empty() {
        body = SmallVec::from_iter([overridden(Bytes::from(body.concat()), target)?]);
    }
    Ok(Untouched { body, losses, usage_added })
}

fn overridden(body: Bytes, target: &Target) -> Result<Bytes, Unsendable> {
    if target.overrides.is_empty() {
        return Ok(body);
    }
    peek::override_fields(&body, &target.overrides.set, &target.overrides.remove).map_err(malformed)
}

fn malformed(error: PeekError) -> Unsendable {
    Unsendable::Malformed(RequestError { message: error.to_string(), param: None })
}
