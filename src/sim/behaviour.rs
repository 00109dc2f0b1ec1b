//! What a simulated model does with one request: how fast, how much, and what goes wrong.
//!
//! A rule of the YAML file sets it ([`super::config`]); for tests, so that a manifest alone can
//! rehearse a failure, the model's name does too: `sim-WORD[-NUMBER]…`, as in
//! `sim-tokens-100-pace-10`. Words of the name win over the file.

use std::time::Duration;

use serde::Deserialize;

/// What a model does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// Before the first token.
    pub first: Duration,
    /// Between tokens.
    pub pace: Duration,
    /// How far the two may differ from what is set, in percent.
    pub jitter: u8,
    /// How many tokens an answer has; as many as its text needs when absent.
    pub tokens: Option<usize>,
    /// The answer, instead of the usual one.
    pub text: Option<String>,
    pub calls: Calls,
    /// Tokens of reasoning, when the model reasons.
    pub reasoning: usize,
    /// Whether the model reasons unasked.
    pub always_reasons: bool,
    /// Whether reasoning is returned encrypted only.
    pub redacted: bool,
    /// Whether the model refuses to answer.
    pub refuses: bool,
    /// The share of the prompt that comes from the cache, in percent.
    pub cached: u8,
    pub fault: Option<Fault>,
}

/// Which of the offered tools a model calls, where the request leaves it free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Calls {
    /// Those that the last text of the user mentions by name.
    #[default]
    Mentioned,
    /// All of them.
    All,
    /// None.
    Never,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is reset before the headers (`sim-reset`).
    Reset,
    /// Nothing ever comes (`sim-silent`).
    Silence,
    /// An error with this status (`sim-429`), and the wait it asks for (`sim-429-after-1`, seconds).
    Status(u16, Option<Duration>),
    /// The answer breaks after so many tokens.
    Break(Break, usize),
}

/// How an answer breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// The connection is closed (`sim-cut-3`).
    Cut,
    /// The provider's own error event (`sim-error-3`).
    ErrorEvent,
    /// An event that is no JSON (`sim-malformed-3`).
    Malformed,
    /// The last event never comes and the stream ends well (`sim-noend`).
    NoEnd,
    /// Nothing more comes (`sim-stall-3`).
    Stall,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(5),
            pace: Duration::from_millis(2),
            jitter: 0,
            tokens: None,
            text: None,
            calls: Calls::default(),
            reasoning: 8,
            always_reasons: false,
            redacted: false,
            refuses: false,
            cached: 0,
            fault: None,
        }
    }
}

impl Behaviour {
    /// This behaviour with what the words of a `sim-…` name change.
    pub(super) fn named(mut self, model: &str) -> Self {
        let Some(words) = model.strip_prefix("sim-") else { return self };
        let words: Vec<&str> = words.split('-').collect();
        for (at, word) in words.iter().enumerate() {
            let number = words.get(at + 1).and_then(|next| next.parse::<u32>().ok());
            let count = usize::try_from(number.unwrap_or(1)).unwrap_or(usize::MAX);
            let millis = Duration::from_millis(number.unwrap_or(0).into());
            let mut broken = |how| self.fault = Some(Fault::Break(how, count));
            match *word {
                "cut" => broken(Break::Cut),
                "error" => broken(Break::ErrorEvent),
                "malformed" => broken(Break::Malformed),
                "noend" => broken(Break::NoEnd),
                "stall" => broken(Break::Stall),
                "reset" => self.fault = Some(Fault::Reset),
                "silent" => self.fault = Some(Fault::Silence),
                "slow" => self.first = millis,
                "pace" => self.pace = millis,
                "tokens" => self.tokens = Some(count),
                "calls" => self.calls = Calls::All,
                "cached" => self.cached = u8::try_from(count.min(100)).unwrap_or(100),
                "refusal" => self.refuses = true,
                "redacted" => self.redacted = true,
                "reasoning" => {
                    self.always_reasons = true;
                    self.reasoning = number.map_or(self.reasoning, |_given| count);
                }
                "after" => {
                    if let Some(Fault::Status(_, after)) = &mut self.fault {
                        *after = number.map(|seconds| Duration::from_secs(seconds.into()));
                    }
                }
                // Anything else is part of a name that somebody chose, or a number already read.
                status if at == 0 => {
                    if let Ok(status @ 400..=599) = status.parse() {
                        self.fault = Some(Fault::Status(status, None));
                    }
                }
                _ => {}
            }
        }
        self
    }

    /// A wait, moved by the jitter. `dice` is a number below 1.
    pub(super) fn jittered(&self, wait: Duration, dice: f64) -> Duration {
        let share = f64::from(self.jitter.min(100)) / 100.0;
        wait.mul_f64(1.0 + share * (2.0 * dice - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(model: &str) -> Behaviour {
        Behaviour::default().named(model)
    }

    #[test]
    fn words_of_a_name_combine() {
        let behaviour = of("sim-tokens-3-pace-10-cut-2");
        assert_eq!(behaviour.tokens, Some(3));
        assert_eq!(behaviour.pace, Duration::from_millis(10));
        assert_eq!(behaviour.fault, Some(Fault::Break(Break::Cut, 2)));
        let limited = Fault::Status(429, Some(Duration::from_secs(2)));
        assert_eq!(of("sim-429-after-2").fault, Some(limited));
        assert_eq!(of("sim-reasoning-20").reasoning, 20);
    }

    #[test]
    fn a_name_without_words_changes_nothing() {
        for name in ["gpt-5", "sim-ok", "sim", "sim-mine-429"] {
            assert_eq!(of(name), Behaviour::default(), "{name}");
        }
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let behaviour = Behaviour { jitter: 50, ..Behaviour::default() };
        let wait = Duration::from_millis(100);
        assert_eq!(behaviour.jittered(wait, 0.0), Duration::from_millis(50));
        assert_eq!(behaviour.jittered(wait, 0.5), wait);
        assert_eq!(Behaviour::default().jittered(wait, 0.9), wait);
    }
}
