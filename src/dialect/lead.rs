//! What stays the same through a conversation: its id, and how its prompt begins.
//!
//! Read from the bytes as they came, for requests whose route asks for it. Nothing is decoded: whoever
//! compares wants to know whether two are alike, and a client that writes the same twice writes the
//! same bytes. The ids stand where the APIs have them, whichever of the two is spoken.

use std::ops::Range;

use smallvec::SmallVec;

use super::peek::{Media, scan, space, value};

/// The most messages before the first one of the user that are looked at.
const MOST_MESSAGES: usize = 16;

/// The id of the conversation, or of its user, as a JSON value: `prompt_cache_key`, else `user`, else
/// `metadata.user_id`. An empty one is none.
pub fn conversation(body: &[u8]) -> Option<&[u8]> {
    let [key, user, metadata] = fields(body, [b"prompt_cache_key", b"user", b"metadata"]);
    let [nested] = metadata.map_or([None], |metadata| fields(metadata, [b"user_id"]));
    let named = |value: &&[u8]| !matches!(*value, b"null" | br#""""#);
    [key, user, nested].into_iter().flatten().find(named)
}

/// How a prompt begins: its tools, its system prompt, and its messages up to the first one of the user.
/// Nothing where there is no message.
pub fn prefix(body: &[u8]) -> SmallVec<[&[u8]; 8]> {
    let [tools, system, messages] = fields(body, [b"tools", b"system", b"messages"]);
    let opening = messages.map(opening).unwrap_or_default();
    if opening.is_empty() {
        return SmallVec::new();
    }
    // In a fixed order, so that two that differ in it are still alike.
    [tools.unwrap_or_default(), system.unwrap_or_default()].into_iter().chain(opening).collect()
}

/// The values of some top-level fields; of one that stands twice the last.
fn fields<'a, const N: usize>(object: &'a [u8], names: [&[u8]; N]) -> [Option<&'a [u8]>; N] {
    let mut found: [Option<Range<usize>>; N] = [const { None }; N];
    let scanned = scan(object, &mut Media::default(), &mut |key, _, value| {
        for (place, _) in found.iter_mut().zip(names).filter(|(_, name)| *name == key) {
            *place = Some(value.clone());
        }
    });
    if scanned.is_err() {
        return [None; N];
    }
    found.map(|range| object.get(range?))
}

/// The items of a list of messages, up to the first one of the user.
fn opening(list: &[u8]) -> SmallVec<[&[u8]; 8]> {
    let mut found = SmallVec::new();
    let mut at = space(list, 0) + 1;
    for _ in 0..MOST_MESSAGES {
        let from = space(list, at);
        let item = value(list, from, &mut Media::default());
        let Some(item) = item.ok().and_then(|to| list.get(from..to)) else { break };
        found.push(item);
        if fields(item, [b"role"]) == [Some(&br#""user""#[..])] {
            break;
        }
        at = space(list, from + item.len());
        if list.get(at) != Some(&b',') {
            break;
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn id(body: &Value) -> Option<String> {
        conversation(body.to_string().as_bytes()).map(|id| String::from_utf8(id.to_vec()).unwrap())
    }

    #[test]
    fn the_id_of_a_conversation_is_where_either_api_has_it() {
        for (body, expected) in [
            (json!({"user": "u", "prompt_cache_key": "k"}), Some("\"k\"")),
            (json!({"user": "u", "metadata": {"user_id": "m"}}), Some("\"u\"")),
            (json!({"metadata": {"a": 1, "user_id": "m"}}), Some("\"m\"")),
            (json!({"user": "", "prompt_cache_key": null, "metadata": {}}), None),
            (json!({"metadata": "user_id"}), None),
            (json!({"messages": [{"user": "u"}]}), None),
        ] {
            assert_eq!(id(&body).as_deref(), expected, "{body}");
        }
    }

    fn parts(body: &Value) -> Vec<String> {
        let text = body.to_string();
        prefix(text.as_bytes())
            .iter()
            .map(|part| String::from_utf8(part.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_prompt_begins_with_tools_system_and_all_up_to_the_users_first_word() {
        let message = |role: &str, text: &str| json!({"role": role, "content": text});
        let (system, hello) = (message("system", "s"), message("user", "hello"));
        let mut body = json!({"messages": [system, hello], "tools": [1]});
        let first = parts(&body);
        assert_eq!(first, ["[1]", "", &*system.to_string(), &*hello.to_string()]);
        let messages = body["messages"].as_array_mut().unwrap();
        messages.extend([message("assistant", "hi"), message("user", "bye")]);
        assert_eq!(parts(&body), first, "what comes later changes nothing");
        body["system"] = json!("be brief");
        assert_ne!(parts(&body), first);
        for none in
            [json!({}), json!({"system": "s"}), json!({"messages": []}), json!({"messages": "x"})]
        {
            assert!(parts(&none).is_empty(), "{none}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_danger(body in r#"\{?["a:,\\{}\[\]role user messages1]{0,40}"#) {
            let _found = (conversation(body.as_bytes()), prefix(body.as_bytes()));
        }
    }
}
