//! References between objects: found or not, allowed or not.
//!
//! The owner of a credential grants its use to other namespaces (`allowedRoutes`). A reference that
//! is not granted is answered with the same words whether the credential exists or not: otherwise a
//! route would be a way to list another team's accounts.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Entry,
    report::{Problem, Reason},
    value::near,
};
use crate::{
    api::{
        AllowedNamespaces, CredentialRef, LabelExpression, LabelOperator, LabelSelector,
        ModelConsumerSpec, ModelSpec, NamespacesFrom, ProviderCredentialSpec,
    },
    table::{Credential, ObjectId},
};

/// The label that every namespace has in a cluster: its own name.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

type Labels = BTreeMap<String, String>;

/// A credential that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Offer {
    /// What a target gets; none when there is nothing to connect with.
    pub(super) credential: Option<Arc<Credential>>,
    /// What it says of its models.
    pub(super) models: Vec<ModelSpec>,
    /// Who may use it.
    pub(super) allowed: AllowedNamespaces,
    /// What is said of its Service while no pod of it is ready; else empty.
    pub(super) note: String,
}

/// What references are resolved against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Those that were accepted.
    pub(super) credentials: &'a BTreeMap<ObjectId, Offer>,
    /// All that were written.
    pub(super) written: &'a BTreeMap<ObjectId, Entry<ProviderCredentialSpec>>,
    /// All consumers that were written.
    pub(super) consumers: &'a BTreeMap<ObjectId, Entry<ModelConsumerSpec>>,
    /// Labels by namespace.
    pub(super) namespaces: &'a BTreeMap<String, Labels>,
}

impl Known<'_> {
    /// The credential that a target of a route in `namespace` names.
    pub(super) fn credential(
        &self,
        namespace: &str,
        target: &str,
        wanted: &CredentialRef,
        field: &str,
    ) -> Result<(Arc<Credential>, &[ModelSpec]), Problem> {
        let owner = wanted.namespace.as_deref().unwrap_or(namespace);
        let id = ObjectId::new(owner, wanted.name.as_str());
        let field = format!("{field}.credentialRef");
        let own = owner == namespace;
        let offer = self.credentials.get(&id);
        let Some(offer) = offer.filter(|offer| own || self.permits(&offer.allowed, namespace))
        else {
            return Err(if own {
                self.missing(target, &id, field)
            } else {
                refused(target, &id, field)
            });
        };
        let models = offer.models.as_slice();
        offer.credential.clone().map(|credential| (credential, models)).ok_or_else(|| {
            let message = format!(
                "target `{target}` names ProviderCredential {id}, which has nothing to connect \
                 with; its own report says why"
            );
            Problem::new(Reason::CredentialNotReady, field, message)
        })
    }

    fn missing(&self, target: &str, id: &ObjectId, field: String) -> Problem {
        if self.written.contains_key(id) {
            let message = format!(
                "target `{target}` names ProviderCredential {id}, which was not accepted; its own \
                 report says why"
            );
            return Problem::new(Reason::CredentialNotReady, field, message);
        }
        let there = || {
            let same = self.credentials.keys().filter(|other| other.namespace == id.namespace);
            same.map(|other| &*other.name)
        };
        let message = format!(
            "target `{target}` names ProviderCredential {id}; there are: {}",
            near(&id.name, there())
        );
        Problem::new(Reason::CredentialNotFound, field, message)
    }

    /// Whether a route in `namespace` may use what is `allowed`, from another namespace than its own.
    pub(super) fn permits(&self, allowed: &AllowedNamespaces, namespace: &str) -> bool {
        match (allowed.from, &allowed.selector) {
            (NamespacesFrom::All, _) => true,
            (NamespacesFrom::Same, _) | (NamespacesFrom::Selector, None) => false,
            (NamespacesFrom::Selector, Some(selector)) => {
                let labels = self.namespaces.get(namespace);
                let value = |key: &str| {
                    if key == NAMESPACE_NAME {
                        Some(namespace)
                    } else {
                        labels.and_then(|labels| labels.get(key)).map(String::as_str)
                    }
                };
                selects(selector, value)
            }
        }
    }
}

/// Whether a grant makes sense.
pub(super) fn check_grant(allowed: &AllowedNamespaces, field: &str, problems: &mut Vec<Problem>) {
    if (allowed.from == NamespacesFrom::Selector) != allowed.selector.is_some() {
        let message = "`selector` goes with `from: Selector`, and only with it";
        problems.push(Problem::invalid(field, message));
    }
    let expressions = allowed.selector.iter().flat_map(|selector| &selector.match_expressions);
    for (at, expression) in expressions.enumerate() {
        let listed = matches!(expression.operator, LabelOperator::In | LabelOperator::NotIn);
        if listed != expression.values.is_some() {
            let field = format!("{field}.selector.matchExpressions[{at}]");
            let message = "`In` and `NotIn` need `values`, `Exists` and `DoesNotExist` take none";
            problems.push(Problem::invalid(&field, message));
        }
    }
}

fn refused(target: &str, id: &ObjectId, field: String) -> Problem {
    let message = format!(
        "target `{target}` may not use ProviderCredential {id}, or there is none; its owner allows \
         it in `spec.allowedRoutes`"
    );
    Problem::new(Reason::RefNotPermitted, field, message)
}

/// Whether all parts of a selector hold. `value` gives a label's value.
fn selects<'a>(selector: &LabelSelector, value: impl Fn(&str) -> Option<&'a str>) -> bool {
    let LabelSelector { match_labels, match_expressions } = selector;
    let holds = |expression: &LabelExpression| {
        let found = value(&expression.key);
        let listed = || {
            let mut values = expression.values.iter().flatten();
            found.is_some_and(|found| values.any(|value| value == found))
        };
        match expression.operator {
            LabelOperator::DoesNotExist => found.is_none(),
            LabelOperator::Exists => found.is_some(),
            LabelOperator::In => listed(),
            LabelOperator::NotIn => !listed(),
        }
    };
    match_labels.iter().all(|(key, wanted)| value(key) == Some(wanted))
        && match_expressions.iter().all(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_holds_when_all_of_its_parts_do() {
        let labels = |key: &str| (key == "team").then_some("a");
        let expression = |key: &str, operator, values: Option<&[&str]>| LabelSelector {
            match_labels: BTreeMap::new(),
            match_expressions: vec![LabelExpression {
                key: key.to_owned(),
                operator,
                values: values.map(|v| v.iter().map(|v| (*v).to_owned()).collect()),
            }],
        };
        for (selector, holds) in [
            (LabelSelector::default(), true),
            (expression("team", LabelOperator::In, Some(&["b", "a"])), true),
            (expression("team", LabelOperator::In, Some(&["b"])), false),
            (expression("team", LabelOperator::NotIn, Some(&["b"])), true),
            (expression("none", LabelOperator::NotIn, Some(&["a"])), true),
            (expression("none", LabelOperator::In, Some(&["a"])), false),
            (expression("team", LabelOperator::Exists, None), true),
            (expression("none", LabelOperator::DoesNotExist, None), true),
            (expression("team", LabelOperator::DoesNotExist, None), false),
        ] {
            assert_eq!(selects(&selector, labels), holds, "{selector:?}");
        }
        let both = LabelSelector {
            match_labels: [("team".to_owned(), "b".to_owned())].into(),
            ..expression("team", LabelOperator::Exists, None)
        };
        assert!(!selects(&both, labels));
    }
}
