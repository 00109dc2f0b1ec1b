//! Texts of resources as values: durations and names.

use std::time::Duration;

use super::report::{Condition, Reason};

/// Reads a duration: a whole number and `ms`, `s`, `m` or `h`.
pub(super) fn duration(text: &str, field: &str) -> Result<Duration, Condition> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let unit = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = number.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    match millis {
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err(invalid(
            field,
            format!("`{text}` is no duration; write a number and ms, s, m or h, up to 24h"),
        )),
    }
}

/// A value that is not what it must be.
pub(super) fn invalid(field: &str, message: impl std::fmt::Display) -> Condition {
    Condition::not_accepted(Reason::Invalid, format!("{field}: {message}"))
}

/// The one of `known` that was probably meant.
pub(super) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|known| (strsim::damerau_levenshtein(word, known), known));
    near.filter(|(distance, _)| *distance <= 2.max(word.len() / 4)).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in [
            ("1500ms", Some(1500)),
            ("2s", Some(2000)),
            ("10m", Some(600_000)),
            ("24h", Some(86_400_000)),
        ] {
            assert_eq!(duration(text, "f").ok().map(|d| d.as_millis()), millis);
        }
        for bad in ["", "5", "s", "0s", "25h", "-1s", "1.5s", "1d", "99999999999999999999s"] {
            assert!(duration(bad, "f").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelt_word_finds_the_one_that_was_meant() {
        let known = ["weight", "model", "name"];
        assert_eq!(meant("wieght", known.into_iter()), Some("weight"));
        assert_eq!(meant("colour", known.into_iter()), None);
    }
}
