//! How much to think: one ladder of effort, said in the three ways that Anthropic's models take.
//!
//! Newer models take an effort and think as they see fit (`adaptive`), some of them always. Older
//! ones take a budget of tokens, which must leave room for the answer below `max_tokens`.
//!
//! Source of the budgets: the defaults that gateways and SDKs have settled on (November 2026).

use super::{Losses, body::Thinking};
use crate::dialect::{
    Loss, Traits,
    chat::{Effort, Reasoning},
    traits::Thinking as Way,
};

/// The least budget that Anthropic takes, in tokens.
const MIN_BUDGET: u64 = 1024;

/// What the request says of thinking.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub thinking: Option<Thinking>,
    pub effort: Option<&'static str>,
    /// The limit of the whole answer, in tokens.
    pub max_tokens: u64,
}

impl Plan {
    /// Whether the model is told to think: then it takes no sampling and no forced call.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Adaptive { .. } | Thinking::Enabled { .. }))
    }

    /// Whether the model is told to think within a budget: then the replayed turn must begin with
    /// thinking.
    pub(super) fn is_budgeted(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Enabled { .. }))
    }
}

/// Decides for a model, an answer of at most `max_tokens`, and what the client asked.
pub(super) fn plan(
    reasoning: Option<&Reasoning>,
    max_tokens: u64,
    traits: &Traits,
    losses: &mut Losses,
) -> Plan {
    let plain = Plan { max_tokens, ..Plan::default() };
    let Some(asked) = reasoning else { return plain };
    let off = asked.effort == Some(Effort::None) || asked.budget == Some(0);
    let display = asked.visible.map(|visible| if visible { "summarized" } else { "omitted" });
    match traits.thinking {
        Way::None => {
            if !off {
                losses.add(Loss::dropped("reasoning_effort"));
            }
            plain
        }
        Way::Budget | Way::Effort if off => Plan { thinking: Some(Thinking::Disabled {}), ..plain },
        Way::Effort | Way::Always => {
            let thinking = Some(Thinking::Adaptive { display });
            Plan { thinking, effort: effort(asked, losses), ..plain }
        }
        Way::Budget => budgeted(asked, display, max_tokens, traits, losses),
    }
}

/// The ladder step. Where the client gave a budget instead, the step whose own budget it reaches.
fn effort(asked: &Reasoning, losses: &mut Losses) -> Option<&'static str> {
    let step = match (asked.effort, asked.budget) {
        (Some(Effort::None | Effort::Minimal), _) => {
            losses.add(Loss::clamped("reasoning_effort"));
            Effort::Low
        }
        (Some(step), _) => step,
        (None, None) => return None,
        (None, Some(budget)) => {
            losses.add(Loss::emulated("thinking.budget_tokens"));
            let reached = |step: &Effort| budget_of(*step) <= budget;
            let ladder = [Effort::Max, Effort::XHigh, Effort::High, Effort::Medium];
            ladder.into_iter().find(reached).unwrap_or(Effort::Low)
        }
    };
    Some(step.as_str())
}

/// A budget below the limit. A small limit is raised, for it was meant for the answer; a model's own
/// limit is not, and leaves half of itself to thinking.
fn budgeted(
    asked: &Reasoning,
    display: Option<&'static str>,
    max_tokens: u64,
    traits: &Traits,
    losses: &mut Losses,
) -> Plan {
    let step = asked.effort.unwrap_or(Effort::Medium);
    let mut budget = asked.budget.unwrap_or_else(|| budget_of(step)).max(MIN_BUDGET);
    let mut limit = max_tokens;
    if limit <= budget {
        losses.add(Loss::clamped("max_tokens"));
        limit = limit.saturating_add(budget).min(traits.max_output_tokens);
    }
    if limit <= budget {
        losses.add(Loss::clamped("reasoning_effort"));
        budget = (limit / 2).max(MIN_BUDGET);
    }
    if limit <= budget {
        losses.add(Loss::dropped("reasoning_effort"));
        return Plan { max_tokens, ..Plan::default() };
    }
    let thinking = Some(Thinking::Enabled { budget_tokens: budget, display });
    Plan { thinking, effort: None, max_tokens: limit }
}

const fn budget_of(step: Effort) -> u64 {
    match step {
        Effort::None | Effort::Minimal | Effort::Low => MIN_BUDGET,
        Effort::Medium => 2048,
        Effort::High => 4096,
        Effort::XHigh => 8192,
        Effort::Max => 16_384,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(effort: Option<Effort>, budget: Option<u64>) -> Reasoning {
        Reasoning { effort, budget, visible: None }
    }

    fn planned(reasoning: &Reasoning, max_tokens: u64, way: Way) -> (Plan, Vec<Loss>) {
        let traits = Traits { thinking: way, max_output_tokens: 8192, ..Traits::default() };
        let mut losses = Losses::default();
        (plan(Some(reasoning), max_tokens, &traits, &mut losses), losses.0)
    }

    #[test]
    fn effort_is_said_as_the_model_takes_it() {
        let low = asked(Some(Effort::Minimal), None);
        let adaptive = Some(Thinking::Adaptive { display: None });
        let (plan, losses) = planned(&low, 500, Way::Effort);
        assert_eq!(plan, Plan { thinking: adaptive, effort: Some("low"), max_tokens: 500 });
        assert_eq!(losses, [Loss::clamped("reasoning_effort")]);

        let (plan, losses) = planned(&asked(Some(Effort::High), None), 8000, Way::Budget);
        let enabled = Some(Thinking::Enabled { budget_tokens: 4096, display: None });
        assert_eq!(plan, Plan { thinking: enabled, effort: None, max_tokens: 8000 });
        assert!(losses.is_empty());

        let (plan, losses) = planned(&low, 500, Way::None);
        assert_eq!(plan, Plan { max_tokens: 500, ..Plan::default() });
        assert_eq!(losses, [Loss::dropped("reasoning_effort")]);
    }

    #[test]
    fn no_thinking_is_as_little_as_the_model_allows() {
        let off = asked(Some(Effort::None), None);
        for way in [Way::Effort, Way::Budget] {
            let (plan, losses) = planned(&off, 500, way);
            assert_eq!(plan.thinking, Some(Thinking::Disabled {}));
            assert!(!plan.is_on() && losses.is_empty());
        }
        let (plan, losses) = planned(&off, 500, Way::Always);
        assert_eq!((plan.effort, losses), (Some("low"), vec![Loss::clamped("reasoning_effort")]));
        assert_eq!(planned(&off, 500, Way::None).1, []);
    }

    #[test]
    fn a_budget_stays_below_the_limit() {
        for (max_tokens, budget, expected) in [
            (100, 2048, Some((2148, 2048))),
            (8000, 16_384, Some((8192, 4096))),
            (4096, 2048, Some((4096, 2048))),
        ] {
            let (plan, _) = planned(&asked(None, Some(budget)), max_tokens, Way::Budget);
            let found = match plan.thinking {
                Some(Thinking::Enabled { budget_tokens, .. }) => {
                    Some((plan.max_tokens, budget_tokens))
                }
                _ => None,
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_budget_becomes_the_step_that_it_reaches() {
        for (budget, step) in
            [(1024, "low"), (2048, "medium"), (5000, "high"), (8192, "xhigh"), (99_999, "max")]
        {
            let (plan, losses) = planned(&asked(None, Some(budget)), 500, Way::Effort);
            assert_eq!(plan.effort, Some(step));
            assert_eq!(losses, [Loss::emulated("thinking.budget_tokens")]);
        }
    }
}
