//! The YAML file of a rehearsal: as typed, as used, and which rule a request meets.
//!
//! Deterministic: a rule counts the requests that it decides, and the n-th of them meets the same
//! faults in every run with the same seed. No clock, no IO; who reads the file is `app`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    Provider,
    behaviour::{Behaviour, Break, Calls, Fault},
    dice,
};

/// What the simulator was told.
#[derive(Debug, Default)]
pub struct Config {
    pub(super) seed: u64,
    rules: Vec<Rule>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It is no YAML, or has fields that do not exist.
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    /// A fault lacks what its kind needs.
    #[error("rules[{rule}].faults[{fault}]: {needs}")]
    Fault {
        /// The rule, from 0.
        rule: usize,
        /// The fault in it, from 0.
        fault: usize,
        /// What is missing.
        needs: &'static str,
    },
}

/// Requests that meet one rule, and what they meet.
#[derive(Debug)]
struct Rule {
    provider: Option<Provider>,
    model: Option<String>,
    key: Option<String>,
    behaviour: Behaviour,
    limits: Option<Limits>,
    faults: Vec<Chance>,
    /// Requests decided so far.
    seen: AtomicU64,
}

/// A fault, and which requests of its rule meet it.
#[derive(Debug)]
struct Chance {
    fault: Met,
    percent: u8,
    from: u64,
    to: u64,
}

#[derive(Clone, Copy, Debug)]
enum Met {
    Fault(Fault),
    SlowFirstToken(Duration),
}

/// How much one key may ask of the models of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Limits {
    pub requests_per_minute: u64,
    pub tokens_per_minute: u64,
}

/// What a request meets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encounter {
    pub behaviour: Behaviour,
    /// The limits, and the number of the rule that they belong to.
    pub limits: Option<(usize, Limits)>,
}

impl Config {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is no valid file; the message says where and what.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let typed: typed::File = serde_yaml::from_str(text)?;
        let rules = typed.rules.into_iter().enumerate();
        let rules = rules.map(|(at, rule)| rule.used(at)).collect::<Result<_, _>>()?;
        Ok(Self { seed: typed.seed, rules })
    }

    /// Whether a rule names this model, which makes it one that the provider has.
    pub(super) fn names(&self, provider: Provider, model: &str) -> bool {
        self.rules.iter().any(|rule| {
            rule.provider.is_none_or(|of| of == provider)
                && rule.model.as_deref().is_some_and(|pattern| matches(pattern, model))
        })
    }

    /// What a request meets: the first rule that fits decides, then the words of the model's name.
    pub(super) fn meet(&self, provider: Provider, model: &str, key: &str) -> Encounter {
        let mut rules = self.rules.iter().enumerate();
        let Some((at, rule)) = rules.find(|(_, rule)| rule.fits(provider, model, key)) else {
            return Encounter { behaviour: Behaviour::default().named(model), limits: None };
        };
        let number = rule.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let mut behaviour = rule.behaviour.clone();
        let hit = rule.faults.iter().enumerate().find(|(nth, chance)| {
            let place = [self.seed, at as u64, *nth as u64, number];
            (chance.from..=chance.to).contains(&number)
                && dice(place) < f64::from(chance.percent) / 100.0
        });
        match hit.map(|(_, chance)| chance.fault) {
            Some(Met::Fault(fault)) => behaviour.fault = Some(fault),
            Some(Met::SlowFirstToken(wait)) => behaviour.first = wait,
            None => {}
        }
        Encounter {
            behaviour: behaviour.named(model),
            limits: rule.limits.map(|limits| (at, limits)),
        }
    }
}

impl Rule {
    fn fits(&self, provider: Provider, model: &str, key: &str) -> bool {
        self.provider.is_none_or(|of| of == provider)
            && self.model.as_deref().is_none_or(|pattern| matches(pattern, model))
            && self.key.as_deref().is_none_or(|own| own == key)
    }
}

/// One `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.strip_prefix(before).is_some_and(|rest| rest.ends_with(after))
        }
    }
}

/// The file as it is typed.
mod typed {
    use super::{
        Behaviour, Break, Calls, Chance, Deserialize, Duration, Fault, Invalid, Limits, Met,
        Provider, duration,
    };

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct File {
        #[serde(default)]
        pub seed: u64,
        #[serde(default)]
        pub rules: Vec<Rule>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Rule {
        provider: Option<Provider>,
        model: Option<String>,
        key: Option<String>,
        #[serde(default)]
        latency: Latency,
        #[serde(default)]
        answer: Answer,
        limits: Option<Limits>,
        #[serde(default)]
        faults: Vec<Row>,
    }

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Latency {
        #[serde(default, deserialize_with = "duration")]
        first_token: Option<Duration>,
        #[serde(default, deserialize_with = "duration")]
        per_token: Option<Duration>,
        #[serde(default)]
        jitter_percent: u8,
    }

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Answer {
        tokens: Option<usize>,
        text: Option<String>,
        #[serde(default)]
        tools: Calls,
        reasoning_tokens: Option<usize>,
        #[serde(default)]
        always_reasons: bool,
        #[serde(default)]
        cached_percent: u8,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Row {
        kind: Kind,
        status: Option<u16>,
        #[serde(default, deserialize_with = "duration")]
        retry_after: Option<Duration>,
        #[serde(default, deserialize_with = "duration")]
        delay: Option<Duration>,
        #[serde(default)]
        after_tokens: usize,
        percent: Option<u8>,
        from: Option<u64>,
        to: Option<u64>,
    }

    #[derive(Clone, Copy, Deserialize)]
    enum Kind {
        Status,
        Reset,
        Silence,
        SlowFirstToken,
        Cut,
        Stall,
        ErrorEvent,
        Malformed,
        NoEnd,
    }

    impl Rule {
        pub(super) fn used(self, at: usize) -> Result<super::Rule, Invalid> {
            let usual = Behaviour::default();
            let behaviour = Behaviour {
                first: self.latency.first_token.unwrap_or(usual.first),
                pace: self.latency.per_token.unwrap_or(usual.pace),
                jitter: self.latency.jitter_percent,
                tokens: self.answer.tokens,
                text: self.answer.text,
                calls: self.answer.tools,
                reasoning: self.answer.reasoning_tokens.unwrap_or(usual.reasoning),
                always_reasons: self.answer.always_reasons,
                cached: self.answer.cached_percent.min(100),
                ..usual
            };
            let faults = self.faults.into_iter().enumerate().map(|(fault, row)| {
                row.used().map_err(|needs| Invalid::Fault { rule: at, fault, needs })
            });
            Ok(super::Rule {
                provider: self.provider,
                model: self.model,
                key: self.key,
                behaviour,
                limits: self.limits,
                faults: faults.collect::<Result<_, _>>()?,
                seen: 0.into(),
            })
        }
    }

    impl Row {
        fn used(self) -> Result<Chance, &'static str> {
            let broken = |how| Met::Fault(Fault::Break(how, self.after_tokens));
            let fault = match self.kind {
                Kind::Status => {
                    let status = self.status.filter(|status| (400..600).contains(status));
                    let status = status.ok_or("Status needs `status`, from 400 to 599")?;
                    Met::Fault(Fault::Status(status, self.retry_after))
                }
                Kind::SlowFirstToken => {
                    Met::SlowFirstToken(self.delay.ok_or("SlowFirstToken needs `delay`")?)
                }
                Kind::Reset => Met::Fault(Fault::Reset),
                Kind::Silence => Met::Fault(Fault::Silence),
                Kind::Cut => broken(Break::Cut),
                Kind::Stall => broken(Break::Stall),
                Kind::ErrorEvent => broken(Break::ErrorEvent),
                Kind::Malformed => broken(Break::Malformed),
                Kind::NoEnd => broken(Break::NoEnd),
            };
            Ok(Chance {
                fault,
                percent: self.percent.unwrap_or(100),
                from: self.from.unwrap_or(1),
                to: self.to.unwrap_or(u64::MAX),
            })
        }
    }
}

/// `250ms`, `2s` or `1m`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    match number.parse::<u32>() {
        Ok(number) if millis > 0 => Ok(Some(Duration::from_millis(u64::from(number) * millis))),
        _ => Err(D::Error::custom(format!("`{text}` is no duration; write 250ms, 2s or 1m"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANTHROPIC: Provider = Provider::Anthropic;

    fn parse(text: &str) -> Config {
        Config::parse(text).unwrap()
    }

    fn faults(config: &Config, count: usize) -> Vec<bool> {
        let met = (0..count).map(|_| config.meet(ANTHROPIC, "claude-x", "k").behaviour.fault);
        met.map(|fault| fault.is_some()).collect()
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let config = parse(
            "rules:\n\
             - { provider: Anthropic, model: claude-*, key: b, answer: { tokens: 1 } }\n\
             - { provider: Anthropic, answer: { tokens: 2 }, latency: { firstToken: 2s } }\n\
             - { answer: { tokens: 3 } }\n",
        );
        let tokens = |provider, model, key| config.meet(provider, model, key).behaviour.tokens;
        assert_eq!(tokens(ANTHROPIC, "claude-x", "b"), Some(1));
        assert_eq!(tokens(ANTHROPIC, "claude-x", "a"), Some(2));
        assert_eq!(tokens(Provider::Gemini, "claude-x", "b"), Some(3));
        assert_eq!(config.meet(ANTHROPIC, "x", "a").behaviour.first, Duration::from_secs(2));
    }

    #[test]
    fn a_rule_makes_the_model_that_it_names_known() {
        let config = parse("rules: [{ provider: OpenAI, model: llama-* }, { provider: Gemini }]");
        assert!(config.names(Provider::OpenAi, "llama-4"));
        assert!(!config.names(ANTHROPIC, "llama-4"));
        assert!(!config.names(Provider::Gemini, "anything"));
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_seed_gives_others() {
        let with = |seed| {
            parse(&format!("seed: {seed}\nrules: [{{ faults: [{{ kind: Reset, percent: 30 }}] }}]"))
        };
        let first = faults(&with(1), 200);
        assert_eq!(first, faults(&with(1), 200));
        assert_ne!(first, faults(&with(2), 200));
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((40..80).contains(&hits), "{hits} of 200 at 30 percent");
    }

    #[test]
    fn an_outage_has_a_beginning_and_an_end() {
        let rule = "rules: [{ faults: [{ kind: Status, status: 529, from: 2, to: 3 }] }]";
        assert_eq!(faults(&parse(rule), 4), [false, true, true, false]);
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, part) in [
            ("rules: [{ modle: x }]", "unknown field `modle`"),
            (
                "rules: [{ faults: [{ kind: Status }] }]",
                "rules[0].faults[0]: Status needs `status`",
            ),
            ("rules: [{ faults: [{ kind: Nap }] }]", "unknown variant `Nap`"),
            ("rules: [{ latency: { firstToken: soon } }]", "`soon` is no duration"),
            ("rules: [{ provider: Acme }]", "unknown variant `Acme`"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
