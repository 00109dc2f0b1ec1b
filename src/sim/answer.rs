//! What a model says to a checked request, before any provider's words for it.
//!
//! Pure: the same request and the same behaviour give the same answer. The usual answer repeats what
//! the user said, so that a test sees what arrived; tools are called when the user names them.

use serde_json::{Value, json};

use super::{
    behaviour::{Behaviour, Calls},
    schema,
};

/// What a checked request asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub model: String,
    pub stream: bool,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// The text of the last turn, where it is the user's.
    pub said: String,
    /// Images of the last turn.
    pub images: usize,
    /// The tool results of the last turn.
    pub results: Vec<String>,
    pub tools: Vec<Tool>,
    pub choice: Choice,
    /// Whether more than one call is allowed.
    pub parallel: bool,
    pub output: Output,
    /// Whether the model reasons, and whether that is shown.
    pub reasons: bool,
    pub shows_reasoning: bool,
    /// The most tokens of the answer.
    pub limit: Option<usize>,
    pub stops: Vec<String>,
    /// Alternatives a token, where log probabilities are asked for.
    pub logprobs: Option<usize>,
    /// Answers asked for; none is one.
    pub choices: usize,
    /// Whether a stream is to end with its usage.
    pub include_usage: bool,
}

/// A tool that may be called.
#[derive(Debug)]
pub(super) struct Tool {
    pub name: String,
    pub schema: Value,
}

/// Whether a tool is to be called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Choice {
    #[default]
    Auto,
    None,
    Any,
    Named(String),
}

/// The form of the answer.
#[derive(Debug, Default)]
pub(super) enum Output {
    #[default]
    Text,
    Json,
    Schema(Value),
}

/// What the model says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Tells the request's ids from those of other requests.
    pub id: String,
    /// Tokens of reasoning; none when the model does not reason.
    pub reasoning: Vec<String>,
    pub redacted: bool,
    /// Tokens of text.
    pub words: Vec<String>,
    pub calls: Vec<Call>,
    pub finish: Finish,
    pub usage: Usage,
}

/// A call of a tool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub name: String,
    pub arguments: Value,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    /// At this stop sequence.
    Sequence(String),
    Length,
    Calls,
    Refusal,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// All of the prompt.
    pub prompt: u64,
    /// What of it came from the cache.
    pub cached: u64,
    /// All of the answer.
    pub output: u64,
    /// What of it was reasoning.
    pub reasoning: u64,
}

const THOUGHTS: [&str; 8] = ["Let ", "me ", "think ", "about ", "this ", "step ", "by ", "step. "];

/// The refusal, in the words of every simulated provider.
pub(super) const REFUSAL: &str = "I cannot help with that.";

pub(super) fn answer(asked: &Asked, behaviour: &Behaviour, id: String) -> Answer {
    let reasons = asked.reasons || behaviour.always_reasons;
    let thoughts = if reasons { behaviour.reasoning } else { 0 };
    let mut reasoning: Vec<String> =
        THOUGHTS.iter().cycle().take(thoughts).map(|&word| word.to_owned()).collect();
    let calls = if behaviour.refuses { Vec::new() } else { calls(asked, behaviour) };
    let (mut words, mut finish) =
        if calls.is_empty() { words(asked, behaviour) } else { (Vec::new(), Finish::Calls) };
    if let Some(limit) = asked.limit.filter(|_| calls.is_empty())
        && reasoning.len() + words.len() > limit
    {
        reasoning.truncate(limit);
        words.truncate(limit - reasoning.len());
        finish = Finish::Length;
    }
    let of_calls: usize = calls.iter().map(|call| 1 + pieces(&call.arguments).len()).sum();
    let usage = Usage {
        prompt: asked.prompt,
        cached: asked.prompt * u64::from(behaviour.cached) / 100,
        output: (reasoning.len() + words.len() + of_calls) as u64,
        reasoning: reasoning.len() as u64,
    };
    Answer { id, reasoning, redacted: behaviour.redacted, words, calls, finish, usage }
}

fn calls(asked: &Asked, behaviour: &Behaviour) -> Vec<Call> {
    let mentioned = |tool: &&Tool| asked.said.contains(&tool.name);
    let tools = asked.tools.iter();
    let mut called: Vec<&Tool> = match &asked.choice {
        Choice::None => vec![],
        Choice::Named(name) => tools.filter(|tool| tool.name == *name).collect(),
        Choice::Auto if !asked.results.is_empty() => vec![],
        Choice::Auto => match behaviour.calls {
            Calls::Mentioned => tools.filter(mentioned).collect(),
            Calls::All => tools.collect(),
            Calls::Never => vec![],
        },
        Choice::Any => match tools.clone().filter(mentioned).collect::<Vec<_>>() {
            none if none.is_empty() => tools.take(1).collect(),
            some => some,
        },
    };
    if !asked.parallel {
        called.truncate(1);
    }
    let call = |tool: &Tool| {
        let arguments = Some(schema::sample(&tool.schema)).filter(Value::is_object);
        // Without a schema, or with a strange one, there is nothing to say.
        Call { name: tool.name.clone(), arguments: arguments.unwrap_or_else(|| json!({})) }
    };
    called.into_iter().map(call).collect()
}

fn words(asked: &Asked, behaviour: &Behaviour) -> (Vec<String>, Finish) {
    if behaviour.refuses {
        return (split(REFUSAL), Finish::Refusal);
    }
    let text = match &asked.output {
        Output::Schema(wanted) => return (pieces(&schema::sample(wanted)), Finish::Stop),
        Output::Json => return (pieces(&json!({"name": "x"})), Finish::Stop),
        Output::Text => match (&behaviour.text, behaviour.tokens) {
            (Some(text), _) => text.clone(),
            (None, Some(tokens)) => numbered(tokens),
            (None, None) => usual(asked),
        },
    };
    let stops = asked.stops.iter().filter_map(|stop| Some((text.find(stop)?, stop)));
    match stops.min() {
        Some((at, stop)) => {
            (split(text.get(..at).unwrap_or_default()), Finish::Sequence(stop.clone()))
        }
        None => (split(&text), Finish::Stop),
    }
}

fn numbered(tokens: usize) -> String {
    (0..tokens).fold(String::new(), |text, n| text + "w" + &n.to_string() + " ")
}

fn usual(asked: &Asked) -> String {
    if !asked.results.is_empty() {
        return format!("The tool said {}", asked.results.join(", "));
    }
    let seen = match asked.images {
        0 => String::new(),
        1 => " I see 1 image.".to_owned(),
        more => format!(" I see {more} images."),
    };
    format!("Hello from {}. You said: {}{seen}", asked.model, asked.said)
}

fn split(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// JSON in tokens of a few letters.
pub(super) fn pieces(value: &Value) -> Vec<String> {
    let letters: Vec<char> = value.to_string().chars().collect();
    letters.chunks(6).map(|chunk| chunk.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(said: &str) -> Asked {
        let tool = |name: &str| Tool { name: name.to_owned(), schema: json!({"type": "object"}) };
        Asked {
            model: "m".to_owned(),
            said: said.to_owned(),
            prompt: 10,
            tools: vec![tool("alpha"), tool("beta")],
            parallel: true,
            ..Asked::default()
        }
    }

    fn say(asked: &Asked, behaviour: &Behaviour) -> (String, Finish, Usage) {
        let answer = answer(asked, behaviour, String::new());
        (answer.words.concat(), answer.finish, answer.usage)
    }

    fn called(asked: &Asked) -> Vec<String> {
        let answer = answer(asked, &Behaviour::default(), String::new());
        answer.calls.into_iter().map(|call| call.name).collect()
    }

    #[test]
    fn the_usual_answer_repeats_what_arrived() {
        let (text, finish, usage) = say(&asked("Hello"), &Behaviour::default());
        assert_eq!(text, "Hello from m. You said: Hello");
        assert_eq!((finish, usage.output), (Finish::Stop, 6));
    }

    #[test]
    fn tools_are_called_when_named_and_as_the_choice_says() {
        assert_eq!(called(&asked("use beta and alpha")), ["alpha", "beta"]);
        assert_eq!(called(&asked("Hello")), [""; 0]);
        let with = |said, choice| called(&Asked { choice, ..asked(said) });
        assert_eq!(with("use alpha", Choice::None), [""; 0]);
        assert_eq!(with("Hello", Choice::Any), ["alpha"]);
        assert_eq!(with("use alpha", Choice::Named("beta".to_owned())), ["beta"]);
        assert_eq!(called(&Asked { parallel: false, ..asked("alpha beta") }), ["alpha"]);
        let results = vec!["1".to_owned()];
        assert_eq!(called(&Asked { results, ..asked("alpha") }), [""; 0]);
    }

    #[test]
    fn an_answer_ends_at_its_limit_or_stop() {
        let limited = Asked { limit: Some(3), ..asked("Hello") };
        let (text, finish, usage) = say(&limited, &Behaviour::default());
        assert_eq!((text.as_str(), finish, usage.output), ("Hello from m. ", Finish::Length, 3));
        let stopped = Asked { stops: vec!["said".into(), "You".into()], ..asked("Hello") };
        let (text, finish, _) = say(&stopped, &Behaviour::default());
        assert_eq!((text.as_str(), finish), ("Hello from m. ", Finish::Sequence("You".into())));
    }

    #[test]
    fn reasoning_and_cache_are_counted_within_the_whole() {
        let behaviour = Behaviour { reasoning: 4, cached: 50, ..Behaviour::default() };
        let (_, _, usage) = say(&Asked { reasons: true, ..asked("Hello") }, &behaviour);
        assert_eq!(usage, Usage { prompt: 10, cached: 5, output: 10, reasoning: 4 });
        let limited = Asked { reasons: true, limit: Some(2), ..asked("Hello") };
        let (text, finish, usage) = say(&limited, &behaviour);
        assert_eq!((text.as_str(), finish, usage.reasoning), ("", Finish::Length, 2));
    }
}
