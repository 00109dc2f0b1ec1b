//! Texts of resources as values, and the rules of `api/bounds.rs` in code.
//!
//! An API server has asked these rules before an operator sees an object; nobody has for a file.
//! Each check here is one rule there, and a test holds the two together. An error is the sentence
//! that the rule itself would say, without the value where the value could be a key.

use std::time::Duration;

use http::HeaderName;

use crate::api::ServicePort;

/// The longest duration that a field takes.
const LONGEST: Duration = Duration::from_hours(24);

/// Reads a duration that is not nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|found| (Duration::from_millis(1)..=LONGEST).contains(found))
        .ok_or_else(|| {
            format!("`{text}` must be a duration from 1ms to 24h, such as 1500ms, 30s or 1m30s")
        })
}

/// Reads a percentage, in hundredths of a percent.
pub(super) fn percent(text: &str) -> Result<u32, String> {
    let wrong = || {
        format!(
            "`{text}` must be a percentage from 0 to 100 with at most two decimals, such as 99.5"
        )
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 3) || !digits(part, 2) {
        return Err(wrong());
    }
    let read = |text: &str| text.parse::<u32>().map_err(|_not_digits| wrong());
    let hundredths = read(whole)? * 100 + read(&format!("{part:0<2}"))?;
    if hundredths > 10_000 { Err(wrong()) } else { Ok(hundredths) }
}

/// Reads a duration that may be nothing.
pub(super) fn pause(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|found| *found <= LONGEST)
        .ok_or_else(|| format!("`{text}` must be a duration from 0s to 24h, such as 30s or 10m"))
}

/// One to four numbers of one to five digits, each with its unit (Gateway API, GEP-2257).
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (unit, tail) = UNITS.iter().find_map(|(unit, millis)| {
            let tail = tail.strip_prefix(unit)?;
            Some((*millis, tail))
        })?;
        total += Duration::from_millis(number.parse::<u64>().ok()? * unit);
        rest = tail;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// Units with their milliseconds; `ms` before `m`, which is its beginning.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// A name for metrics, logs and headers.
pub(super) fn label(text: &str) -> Result<(), String> {
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let good = text.len() <= 63
        && text.bytes().all(inside)
        && ends(text.bytes().next())
        && ends(text.bytes().last());
    check(good, || format!("`{text}` must be letters and digits, with . _ - between them"))
}

/// An entry of `spec.models`.
pub(super) fn model_pattern(text: &str) -> Result<(), String> {
    let name = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(text);
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"._:/@+-".contains(&c);
    let good = (1..=128).contains(&text.len()) && name.bytes().all(inside);
    check(good, || {
        format!(
            "`{text}` must be letters, digits and . _ : / @ + - with at most one `*`, at the \
             beginning or the end"
        )
    })
}

/// A model's name at its provider.
pub(super) fn upstream_model(text: &str) -> Result<(), String> {
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"._:@+-".contains(&c);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(inside);
    check(text.len() <= 256 && text.split('/').all(part), || {
        format!(
            "`{text}` must be letters, digits and . _ : @ + - in parts between single slashes, no \
             part `.` or `..`, because it becomes a part of a path"
        )
    })
}

/// A header's name: a token of RFC 9110, without the quote that CEL's texts stand in.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&*+.^_`|~-".contains(&c);
    let sound = text.len() <= 64 && text.bytes().all(inside);
    text.parse()
        .ok()
        .filter(|_| sound)
        .ok_or_else(|| format!("`{text}` must be a header name, such as x-tier"))
}

/// A header's value.
pub(super) fn header_value(text: &str) -> Result<(), String> {
    let printable = |c: u8| (b' '..=b'~').contains(&c);
    check((1..=256).contains(&text.len()) && text.bytes().all(printable), || {
        "must be printable ASCII, at most 256 characters".to_owned()
    })
}

/// A DNS name in lower case.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(inside)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    check(text.len() <= 253 && text.split('.').all(part), || {
        format!("`{text}` must be a DNS name in lower case")
    })
}

/// The name of a Service.
pub(super) fn service_name(text: &str) -> Result<(), String> {
    check(text.len() <= 63 && !text.contains('.') && host_name(text).is_ok(), || {
        format!("`{text}` must be the name of a Service: lower case letters, digits and -")
    })
}

/// A port by its name or its number.
pub(super) fn port(port: &ServicePort) -> Result<(), String> {
    let good = match port {
        ServicePort::Name(name) => name.len() <= 15 && service_name(name).is_ok(),
        ServicePort::Number(number) => (1..=65535).contains(number),
    };
    check(good, || "must be a port's name or its number, from 1 to 65535".to_owned())
}

/// The path of a base URL.
pub(super) fn base_path(text: &str) -> Result<(), String> {
    let inside = |c: u8| c.is_ascii_alphanumeric() || b"._~:@-".contains(&c);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(inside);
    let parts = text.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let good =
        text == "/" || parts.is_some_and(|parts| text.len() <= 128 && parts.split('/').all(part));
    check(good, || format!("`{text}` must be a path such as /v1, or /, without query, `%` or `..`"))
}

/// The name of an environment variable. What stands there instead may be the key itself, pasted into
/// the wrong field, so it is not repeated.
pub(super) fn variable(text: &str) -> Result<(), String> {
    let inside = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let first = text.bytes().next().is_some_and(|c| !c.is_ascii_digit());
    check(first && text.len() <= 128 && text.bytes().all(inside), || {
        "must be the name of an environment variable: letters, digits and _ (never the key itself)"
            .to_owned()
    })
}

fn check(good: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(message()) }
}

/// The one of `known` that was probably meant.
pub fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|known| {
        let (word, candidate) = (word.to_lowercase(), known.to_lowercase());
        (strsim::damerau_levenshtein(&word, &candidate), known)
    });
    near.filter(|(distance, _)| *distance <= 2.max(word.len() / 4)).min().map(|(_, known)| known)
}

/// What to say after a word that is none of `known`: the one that was meant, else all of them.
pub fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match meant(word, known.clone()) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("there are: {}", list(known)),
    }
}

/// The most words that a sentence lists.
const LISTED: usize = 12;

/// Some words in a sentence, or `none`; a long list is cut.
pub fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        return "none".to_owned();
    }
    let shown = words.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// As [`list`], but what a cut list would hide is never the word that was probably meant.
pub(super) fn near<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let meant = meant(word, known.clone()).filter(|_| known.clone().count() > LISTED);
    let rest = known.filter(|known| meant != Some(known));
    list(meant.into_iter().chain(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_one_to_four_numbers_with_units() {
        for (text, millis) in [
            ("1ms", 1),
            ("1500ms", 1500),
            ("2s", 2000),
            ("10m", 600_000),
            ("1m30s", 90_000),
            ("1h2m3s4ms", 3_723_004),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "0s",
            "25h",
            "23h61m",
            "-1s",
            "1.5s",
            "1d",
            "1s ",
            "99999999999999s",
            "1s1s1s1s1s",
            "1m30",
            "\u{663}s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(pause("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_model_name_cannot_leave_its_place_in_a_path() {
        for good in ["gpt-5", "meta-llama/Llama-3.1-8B", "llama3:8b", "ft:gpt-4o:org::id", "a..b"] {
            assert_eq!(upstream_model(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a//b", "a/../b", "..", "a/.", "a?b", "a#b", "a%2e", "a b", "a\nb",
            "\u{e9}",
        ] {
            assert!(upstream_model(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_has_one_star_at_an_end() {
        for good in ["*", "gpt-*", "*-latest", "gpt-5", "org/model:tag"] {
            assert_eq!(model_pattern(good), Ok(()), "{good}");
        }
        for bad in ["", "**", "*a*", "a*b", "a b", "caf\u{e9}"] {
            assert!(model_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pasted_key_is_refused_and_not_repeated() {
        let told = variable("sk-live-canary").unwrap_err();
        assert!(!told.contains("canary"), "{told}");
        assert_eq!(variable("OPENAI_API_KEY"), Ok(()));
    }

    #[test]
    fn a_misspelt_word_finds_the_one_that_was_meant() {
        let known = || ["weight", "model", "name"].into_iter();
        assert_eq!(meant("wieght", known()), Some("weight"));
        assert_eq!(suggestion("colour", known()), "there are: weight, model, name");
        assert_eq!(suggestion("Model", known()), "did you mean `model`?");
    }
}
