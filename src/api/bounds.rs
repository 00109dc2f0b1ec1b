//! The shapes of values that several fields share: their bounds, and their rule with its message.
//!
//! Rules are CEL and not `pattern`, because a pattern's message is the pattern itself. `compile`
//! asks the same again in code (`compile/value.rs`), for manifests that no API server has seen; a
//! test holds the two together.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The share of a target or key that names none.
pub(super) const fn default_weight() -> i32 {
    100
}

/// A text with bounds and one rule.
fn text(min: u32, max: u32, rule: &str, message: &str) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": min,
        "maxLength": max,
        "x-kubernetes-validations": [{"rule": rule, "message": message}],
    })
}

/// A duration in the words of the Gateway API (GEP-2257).
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    text(
        2,
        24,
        "self.matches('^([0-9]{1,5}(ms|s|m|h)){1,4}$') && duration(self) >= duration('1ms') \
         && duration(self) <= duration('24h')",
        "must be a duration from 1ms to 24h, such as 1500ms, 30s or 1m30s",
    )
}

/// A duration that may also be nothing.
pub(super) fn pause(_: &mut SchemaGenerator) -> Schema {
    text(
        2,
        24,
        "self.matches('^([0-9]{1,5}(ms|s|m|h)){1,4}$') && duration(self) <= duration('24h')",
        "must be a duration from 0s to 24h, such as 30s or 10m",
    )
}

/// A share of a hundred with at most two decimals.
pub(super) fn percent(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        6,
        "self.matches('^[0-9]{1,3}([.][0-9]{1,2})?$') && double(self) <= 100.0",
        "must be a percentage from 0 to 100 with at most two decimals, such as 99.5",
    )
}

/// US dollars per million tokens.
pub(super) fn price(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        14,
        "self.matches('^[0-9]{1,7}([.][0-9]{1,6})?$') && double(self) <= 1000000.0",
        "must be US dollars per million tokens from 0 to 1000000 with at most six decimals, such as 2.50",
    )
}

/// An amount of money above nothing.
pub(super) fn dollars(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        13,
        "self.matches('^[0-9]{1,9}([.][0-9]{1,2})?$') && double(self) > 0.0",
        "must be US dollars above 0 with at most two decimals, such as 1000",
    )
}

/// How many times dearer.
pub(super) fn multiplier(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        6,
        "self.matches('^[0-9]{1,2}([.][0-9]{1,3})?$') && double(self) >= 1.0",
        "must be from 1 to 99.999 with at most three decimals, such as 1.20",
    )
}

/// A name that stands in metrics, logs and headers.
pub(super) fn label(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        63,
        "self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",
        "must be letters and digits, with . _ - between them",
    )
}

/// `spec.models`.
pub(super) fn model_patterns(_: &mut SchemaGenerator) -> Schema {
    let mut item = text(
        1,
        128,
        "self.matches('^([A-Za-z0-9._:/@+-]+[*]?|[*][A-Za-z0-9._:/@+-]*)$')",
        "must be letters, digits and . _ : / @ + - with at most one `*`, at the beginning or the end",
    );
    item.insert("description".to_owned(), "A name, or a name with one `*`.".into());
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 32,
        "items": item,
        "x-kubernetes-list-type": "set",
    })
}

/// `status.models`. What stands in a status has been checked.
pub(super) fn owned_models(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "items": {"description": "A name.", "type": "string", "minLength": 1, "maxLength": 128},
        "x-kubernetes-list-type": "atomic",
    })
}

/// A model's name at its provider. It becomes a part of a path, so nothing that changes the path.
pub(super) fn upstream_model(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        256,
        "self.matches('^[A-Za-z0-9._:@+-]+(/[A-Za-z0-9._:@+-]+)*$') \
         && !self.matches('(^|/)[.]{1,2}(/|$)')",
        "must be letters, digits and . _ : @ + - in parts between single slashes, no part `.` or `..`",
    )
}

/// A header's name: a token of RFC 9110.
pub(super) fn header_name(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        64,
        "self.matches('^[A-Za-z0-9!#$%&*+.^_`|~-]+$')",
        "must be a header name, such as x-tier",
    )
}

/// A header's value: printable ASCII.
pub(super) fn header_value(_: &mut SchemaGenerator) -> Schema {
    text(1, 256, "self.matches('^[ -~]+$')", "must be printable ASCII")
}

/// A DNS name.
pub(super) fn host_name(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        253,
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",
        "must be a DNS name in lower case",
    )
}

/// The name of an environment variable.
pub(super) fn variable(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        128,
        "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
        "must be the name of an environment variable: letters, digits and _ (never the key itself)",
    )
}

/// An absolute http or https URL without user, query, fragment, escapes or dot segments.
pub(super) fn base_url(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        512,
        "self.matches('^https?://([A-Za-z0-9._-]+|\\\\[[0-9A-Fa-f:.]+\\\\])\
         (:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?\
         (/[A-Za-z0-9._~:@-]+)*/?$') && !self.matches('/[.]{1,2}(/|$)')",
        "must be https://host[:port][/path] without user, query, fragment, `%` or `..`",
    )
}

/// The name of a Service.
pub(super) fn service_name(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        63,
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "must be the name of a Service: lower case letters, digits and -",
    )
}

/// A port by its name or its number.
pub(super) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 65535,
        "minLength": 1,
        "maxLength": 15,
        "x-kubernetes-validations": [{
            "rule": "string(self).matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "message": "must be a port's name or its number, from 1 to 65535",
        }],
    })
}

/// The path of a base URL.
pub(super) fn base_path(_: &mut SchemaGenerator) -> Schema {
    text(
        1,
        128,
        "self.matches('^(/[A-Za-z0-9._~:@-]+)+/?$|^/$') && !self.matches('/[.]{1,2}(/|$)')",
        "must be a path such as /v1, or /, without query, `%` or `..`",
    )
}

/// An object whose values may be anything, as `overrides.set`.
pub(super) fn free_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "description": "Any value.",
            "x-kubernetes-preserve-unknown-fields": true,
        },
    })
}

/// Names of fields, as `overrides.remove`.
pub(super) fn field_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"description": "A field.", "type": "string", "minLength": 1, "maxLength": 64},
        "x-kubernetes-list-type": "set",
    })
}

/// Names, each once, as `spec.groups`.
pub(super) fn labels_set(generator: &mut SchemaGenerator) -> Schema {
    let mut item = label(generator);
    item.insert("description".to_owned(), "A name.".into());
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": item,
        "x-kubernetes-list-type": "set",
    })
}

/// Labels with values.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"description": "The value.", "type": "string", "maxLength": 63},
    })
}

/// Values that a label may have.
pub(super) fn label_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "items": {"description": "A value.", "type": "string", "maxLength": 63},
        "x-kubernetes-list-type": "set",
    })
}
