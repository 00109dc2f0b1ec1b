//! The built-in catalogue: what the known models of known providers cost and can do.
//!
//! `catalogue/models.json` is made by a script from public data and read once, when it is first
//! asked. It speaks of a provider's own service only: a server of one's own that happens to offer a
//! model of the same name has other prices and perhaps other limits, so it has no row here and its
//! resource says what it costs.
//!
//! A model's name is looked up as it is, then without the date or version at its end: providers
//! freeze `claude-haiku-4-5` as `claude-haiku-4-5-20251001` and neither price nor limits change.
//! Names are never matched by their beginning, because `gpt-5-nano` is not `gpt-5`.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{Capability, Pricing};

/// What is known of one model.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The provider, as in `spec.provider`.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Tokens that a request may hold, where that is known.
    pub context_tokens: Option<u64>,
    /// Tokens that an answer may have, where that is known.
    pub max_output_tokens: Option<u64>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// What it costs, where that is known.
    pub pricing: Option<Pricing>,
    /// The day on which the provider takes it away.
    pub retires: Option<String>,
    /// The page that the figures are from.
    pub source: Option<String>,
}

/// Where the catalogue is from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Source {
    /// The package whose data it is made from.
    pub package: String,
    /// That package's version.
    pub version: String,
    /// Its licence.
    pub licence: String,
    /// The day on which the catalogue was made.
    pub date: String,
}

/// Every row, and where they are from.
#[derive(Debug, Deserialize)]
pub struct Catalogue {
    /// Where the rows are from.
    pub source: Source,
    /// Sorted by provider and model.
    #[serde(rename = "models")]
    pub rows: Vec<Row>,
    #[serde(skip)]
    index: BTreeMap<(String, String), usize>,
}

impl Catalogue {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        let mut read: Self = serde_json::from_str(text)?;
        let names = read.rows.iter().enumerate();
        read.index =
            names.map(|(at, row)| ((row.provider.clone(), row.model.clone()), at)).collect();
        Ok(read)
    }

    /// The row of a provider's model.
    pub fn find(&self, provider: &str, model: &str) -> Option<&Row> {
        let name = model.rsplit('/').next().unwrap_or(model).to_lowercase();
        let find =
            |name: &str| self.rows.get(*self.index.get(&(provider.to_owned(), name.to_owned()))?);
        find(&name).or_else(|| find(undated(&name)?))
    }
}

/// A name without the date at its end: `-20251001`, `@20251001` or `-2025-10-01`.
fn undated(name: &str) -> Option<&str> {
    const FORMS: [&str; 2] = ["00000000", "0000-00-00"];
    FORMS.iter().find_map(|form| {
        let (head, tail) = name.split_at_checked(name.len().checked_sub(form.len())?)?;
        let mut places = tail.bytes().zip(form.bytes());
        let fits = places.all(|(byte, place)| match place {
            b'-' => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        head.strip_suffix(['-', '@']).filter(|_| fits)
    })
}

/// The catalogue that is built in.
pub fn catalogue() -> &'static Catalogue {
    static BUILT_IN: LazyLock<Catalogue> = LazyLock::new(|| {
        let text = include_str!("../../catalogue/models.json");
        #[expect(clippy::expect_used, reason = "a test reads this very text")]
        Catalogue::read(text).expect("the catalogue's own format")
    });
    &BUILT_IN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    #[test]
    fn every_row_is_of_a_known_provider_and_in_order() {
        let rows = &catalogue().rows;
        assert!(rows.len() > 100);
        assert!(rows.iter().all(|row| provider::find(&row.provider).is_some()));
        let key = |row: &Row| (row.provider.clone(), row.model.clone());
        assert!(rows.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
    }

    #[test]
    fn a_model_is_found_by_its_own_name_and_without_its_date() {
        let find = |provider, model| catalogue().find(provider, model).map(|row| &*row.model);
        assert_eq!(find("OpenAI", "gpt-5"), Some("gpt-5"));
        assert_eq!(find("Gemini", "models/Gemini-2.5-Pro"), Some("gemini-2.5-pro"));
        assert_eq!(find("Anthropic", "claude-haiku-4-5-20251231"), Some("claude-haiku-4-5"));
        assert_eq!(find("Anthropic", "claude-haiku-4-5@20251231"), Some("claude-haiku-4-5"));
        assert_eq!(find("OpenAI", "gpt-5-2031-01-01"), Some("gpt-5"));
    }

    #[test]
    fn a_name_that_only_begins_alike_is_another_model() {
        for (provider, model) in [
            ("OpenAI", "gpt-5-next"),
            ("OpenAI", "gpt"),
            ("OpenAI", "gpt-5-20"),
            ("OpenAICompatible", "gpt-5"),
            ("OpenAI", ""),
            ("OpenAI", "-2025-01-01"),
        ] {
            assert_eq!(catalogue().find(provider, model), None, "{provider} {model}");
        }
    }
}
