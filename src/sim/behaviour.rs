//! What a model does, read from its name: `sim-WORD[-NUMBER]…`, as in `sim-tokens-100-pace-10`.

use std::time::Duration;

/// A failure instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is reset before the headers (`sim-reset`).
    Reset,
    /// Nothing ever comes (`sim-silent`).
    Silent,
    /// An error with this status (`sim-429`), and a wait in seconds (`sim-429-after-1`).
    Status(u16, Option<u64>),
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Complete,
    /// Cut after so many events (`sim-cut-3`).
    Cut(usize),
    /// With an error event (`sim-error-3`).
    Error(usize),
    /// With an event that is no JSON (`sim-malformed-3`).
    Malformed(usize),
    /// Without its last event (`sim-noend`).
    Missing,
    /// Not at all (`sim-stall-3`).
    Stall(usize),
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    pub(super) fault: Option<Fault>,
    pub(super) end: End,
    /// Before the first token (`sim-slow-500`, milliseconds).
    pub(super) first: Duration,
    /// Between tokens (`sim-pace-10`, milliseconds).
    pub(super) pace: Duration,
    /// How many words an answer has (`sim-tokens-100`); as many as it needs when 0.
    tokens: usize,
}

impl Behaviour {
    pub(super) fn of(model: &str) -> Self {
        let mut behaviour = Self {
            fault: None,
            end: End::Complete,
            first: Duration::from_millis(5),
            pace: Duration::from_millis(2),
            tokens: 0,
        };
        let Some(words) = model.strip_prefix("sim-") else { return behaviour };
        let words: Vec<&str> = words.split('-').collect();
        for (at, word) in words.iter().enumerate() {
            let number = words.get(at + 1).and_then(|next| next.parse::<u64>().ok());
            let count = usize::try_from(number.unwrap_or(1)).unwrap_or(1);
            let millis = Duration::from_millis(number.unwrap_or(0));
            match *word {
                "reset" => behaviour.fault = Some(Fault::Reset),
                "silent" => behaviour.fault = Some(Fault::Silent),
                "slow" => behaviour.first = millis,
                "pace" => behaviour.pace = millis,
                "tokens" => behaviour.tokens = count,
                "cut" => behaviour.end = End::Cut(count),
                "error" => behaviour.end = End::Error(count),
                "malformed" => behaviour.end = End::Malformed(count),
                "stall" => behaviour.end = End::Stall(count),
                "noend" => behaviour.end = End::Missing,
                "after" => {
                    if let Some(Fault::Status(_, after)) = &mut behaviour.fault {
                        *after = number;
                    }
                }
                status if at == 0 => {
                    if let Ok(status @ 400..=599) = status.parse() {
                        behaviour.fault = Some(Fault::Status(status, None));
                    }
                }
                _ => {}
            }
        }
        behaviour
    }

    /// The words of an answer, each with its space.
    pub(super) fn words(&self, text: &str) -> Vec<String> {
        if self.tokens > 0 {
            return (0..self.tokens).map(|n| format!("w{n} ")).collect();
        }
        text.split_inclusive(' ').map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_name_combine() {
        let behaviour = Behaviour::of("sim-tokens-3-pace-10-cut-2");
        assert_eq!(behaviour.words("x"), ["w0 ", "w1 ", "w2 "]);
        assert_eq!((behaviour.pace, behaviour.end), (Duration::from_millis(10), End::Cut(2)));
        assert_eq!(Behaviour::of("sim-429-after-2").fault, Some(Fault::Status(429, Some(2))));
        assert_eq!(Behaviour::of("gpt-5").fault, None);
    }
}
