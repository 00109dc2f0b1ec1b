//! Shapes of JSON, written as tables, and the first thing about a value that does not fit one.
//!
//! The real providers refuse an unknown field, a wrong type or a number out of range at any depth, each
//! in words of its own. So a provider's `shape` says what is allowed, this file finds what is wrong and
//! where, and the provider's `error` says it as the provider would. It knows no provider.
//!
//! Tables are statics and refer to each other, because some shapes contain themselves.

use serde_json::{Map, Value};

/// What a value may be.
#[derive(Debug)]
pub(super) enum Shape {
    Any,
    Bool,
    Text,
    /// One of a few texts.
    Word(&'static [&'static str]),
    /// A whole number within bounds.
    Whole(i64, i64),
    /// A number within bounds.
    Number(f64, f64),
    /// A list of at most so many.
    List(&'static Self, usize),
    /// An object with any keys.
    Map,
    /// An object with these keys and no other.
    Object(&'static [Field]),
    /// An object whose other keys depend on the text under one of them.
    Tagged(&'static str, &'static [(&'static str, &'static [Field])]),
    /// The first of these whose JSON type is the value's.
    Either(&'static [&'static Self]),
}

/// One key of an object.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    shape: &'static Shape,
    need: Need,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Must,
    May,
    /// Optional, and `null` is as good as absent.
    Null,
}

pub(super) const fn must(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, shape, need: Need::Must }
}

pub(super) const fn may(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, shape, need: Need::May }
}

pub(super) const fn null(name: &'static str, shape: &'static Shape) -> Field {
    Field { name, shape, need: Need::Null }
}

/// One step from a value to something in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Unknown,
    Missing,
    /// The type expected, the type found.
    Type(&'static str, &'static str),
    /// The text found, the texts allowed.
    Word(String, Vec<&'static str>),
    /// The least allowed, what was found.
    Below(String, String),
    /// The most allowed, what was found.
    Above(String, String),
    /// The longest allowed, what was found.
    Long(usize, usize),
}

/// The first thing that does not fit, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wrong {
    /// From the outermost step inwards.
    pub at: Vec<Step>,
    pub what: What,
}

impl Wrong {
    fn here(what: What) -> Self {
        Self { at: Vec::new(), what }
    }

    fn under(what: What, key: &str) -> Self {
        Self::here(what).inside(Step::Key(key.to_owned()))
    }

    fn inside(mut self, step: Step) -> Self {
        self.at.insert(0, step);
        self
    }

    /// `a.0.b`, as Anthropic writes it.
    pub(super) fn dotted(&self) -> String {
        let words = self.at.iter().map(|step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(at) => at.to_string(),
        });
        words.collect::<Vec<_>>().join(".")
    }

    /// `a[0].b`, as OpenAI and Google write it.
    pub(super) fn bracketed(&self) -> String {
        let mut path = String::new();
        for step in &self.at {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => path.extend([".", key]),
                Step::Index(at) => path.extend(["[", &at.to_string(), "]"]),
            }
        }
        path
    }
}

/// Checks a value. `nulls` says whether the provider takes `null` for any field that may be absent.
pub(super) fn check(shape: &Shape, value: &Value, nulls: bool) -> Result<(), Wrong> {
    let wrong_type = || Err(Wrong::here(What::Type(expected(shape), kind(value))));
    match shape {
        Shape::Any => Ok(()),
        Shape::Bool | Shape::Text | Shape::Map if fits(shape, value) => Ok(()),
        Shape::Bool | Shape::Text | Shape::Map => wrong_type(),
        Shape::Word(allowed) => match value.as_str() {
            Some(found) if allowed.contains(&found) => Ok(()),
            Some(found) => Err(Wrong::here(What::Word(found.to_owned(), allowed.to_vec()))),
            None => wrong_type(),
        },
        Shape::Whole(least, most) => match value.as_i64() {
            Some(found) => bounds(&found, least, most),
            None => wrong_type(),
        },
        Shape::Number(least, most) => match value.as_f64() {
            Some(found) => bounds(&found, least, most),
            None => wrong_type(),
        },
        Shape::List(item, most) => match value.as_array() {
            Some(items) if items.len() > *most => Err(Wrong::here(What::Long(*most, items.len()))),
            Some(items) => items.iter().enumerate().try_for_each(|(at, value)| {
                check(item, value, nulls).map_err(|wrong| wrong.inside(Step::Index(at)))
            }),
            None => wrong_type(),
        },
        Shape::Object(fields) => match value.as_object() {
            Some(map) => object(fields, map, None, nulls),
            None => wrong_type(),
        },
        Shape::Tagged(tag, variants) => match value.as_object() {
            Some(map) => tagged(tag, variants, map, nulls),
            None => wrong_type(),
        },
        Shape::Either(shapes) => match shapes.iter().find(|shape| fits(shape, value)) {
            Some(shape) => check(shape, value, nulls),
            None => wrong_type(),
        },
    }
}

fn tagged(
    tag: &str,
    variants: &[(&'static str, &'static [Field])],
    map: &Map<String, Value>,
    nulls: bool,
) -> Result<(), Wrong> {
    let Some(found) = map.get(tag) else { return Err(Wrong::under(What::Missing, tag)) };
    let Some(found) = found.as_str() else {
        return Err(Wrong::under(What::Type("a string", kind(found)), tag));
    };
    if let Some((_, fields)) = variants.iter().find(|(name, _)| *name == found) {
        return object(fields, map, Some(tag), nulls);
    }
    let allowed = variants.iter().map(|(name, _)| *name).collect();
    Err(Wrong::under(What::Word(found.to_owned(), allowed), tag))
}

fn object(
    fields: &[Field],
    map: &Map<String, Value>,
    tag: Option<&str>,
    nulls: bool,
) -> Result<(), Wrong> {
    for (key, value) in map {
        if tag == Some(key) {
            continue;
        }
        let Some(field) = fields.iter().find(|field| field.name == key) else {
            return Err(Wrong::under(What::Unknown, key));
        };
        let absent = value.is_null()
            && match field.need {
                Need::Must => false,
                Need::May => nulls,
                Need::Null => true,
            };
        if !absent {
            check(field.shape, value, nulls)
                .map_err(|wrong| wrong.inside(Step::Key(key.clone())))?;
        }
    }
    let missing = fields.iter().find(|f| f.need == Need::Must && !map.contains_key(f.name));
    missing.map_or(Ok(()), |field| Err(Wrong::under(What::Missing, field.name)))
}

fn bounds<N: PartialOrd + std::fmt::Display>(found: &N, least: &N, most: &N) -> Result<(), Wrong> {
    if found < least {
        return Err(Wrong::here(What::Below(least.to_string(), found.to_string())));
    }
    if found > most {
        return Err(Wrong::here(What::Above(most.to_string(), found.to_string())));
    }
    Ok(())
}

/// Whether the value has the JSON type that the shape begins with.
fn fits(shape: &Shape, value: &Value) -> bool {
    match shape {
        Shape::Any => true,
        Shape::Bool => value.is_boolean(),
        Shape::Text | Shape::Word(_) => value.is_string(),
        Shape::Whole(..) => value.is_i64() || value.is_u64(),
        Shape::Number(..) => value.is_number(),
        Shape::List(..) => value.is_array(),
        Shape::Map | Shape::Object(_) | Shape::Tagged(..) => value.is_object(),
        Shape::Either(shapes) => shapes.iter().any(|shape| fits(shape, value)),
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Any => "a value",
        Shape::Bool => "a boolean",
        Shape::Text | Shape::Word(_) => "a string",
        Shape::Whole(..) => "an integer",
        Shape::Number(..) => "a decimal",
        Shape::List(..) => "an array",
        Shape::Map | Shape::Object(_) | Shape::Tagged(..) => "an object",
        Shape::Either(shapes) => shapes.last().map_or("a value", |shape| expected(shape)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static WORDS: Shape = Shape::List(&Shape::Text, 2);
    static NODE: Shape = Shape::Object(&[
        must("name", &Shape::Text),
        may("size", &Shape::Whole(1, 9)),
        null("note", &Shape::Text),
        may("children", &Shape::List(&NODE, 9)),
        may("kind", &Shape::Tagged("type", &[("a", &[must("x", &Shape::Bool)]), ("b", &[])])),
        may("stop", &Shape::Either(&[&Shape::Text, &WORDS])),
    ]);

    fn wrong(value: &Value, nulls: bool) -> Option<(String, What)> {
        check(&NODE, value, nulls).err().map(|wrong| (wrong.bracketed(), wrong.what))
    }

    #[test]
    fn what_fits_passes_at_every_depth() {
        let value = json!({"name": "n", "note": null, "stop": ["a"], "children": [
            {"name": "m", "size": 9, "kind": {"type": "a", "x": true}, "stop": "b"},
        ]});
        assert_eq!(wrong(&value, false), None);
    }

    #[test]
    fn the_first_wrong_thing_is_found_with_its_place() {
        for (value, place, what) in [
            (json!({}), "name", What::Missing),
            (json!({"name": "n", "nam": 1}), "nam", What::Unknown),
            (json!({"name": 1}), "name", What::Type("a string", "an integer")),
            (json!({"name": null}), "name", What::Type("a string", "null")),
            (json!({"name": "n", "size": 0}), "size", What::Below("1".into(), "0".into())),
            (json!({"name": "n", "size": 1.5}), "size", What::Type("an integer", "a decimal")),
            (json!({"name": "n", "stop": ["a", "b", "c"]}), "stop", What::Long(2, 3)),
            (
                json!({"name": "n", "children": [{"name": "m", "kind": {"type": "c"}}]}),
                "children[0].kind.type",
                What::Word("c".into(), vec!["a", "b"]),
            ),
            (json!({"name": "n", "kind": {"type": "b", "x": true}}), "kind.x", What::Unknown),
        ] {
            assert_eq!(wrong(&value, false), Some((place.to_owned(), what)), "{value}");
        }
    }

    #[test]
    fn null_stands_for_absent_only_where_the_provider_takes_it() {
        let value = json!({"name": "n", "size": null});
        assert_eq!(wrong(&value, true), None);
        let expected = ("size".to_owned(), What::Type("an integer", "null"));
        assert_eq!(wrong(&value, false), Some(expected));
    }
}
