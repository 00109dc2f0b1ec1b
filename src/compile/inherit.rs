//! What was published before this process began.
//!
//! The last good version of an object is remembered as a specification, and a process that starts
//! anew remembers none. Without more, a restart would take away every object whose edit was a mistake,
//! and a restart must change nothing. So what is published serves in their place, until the object is
//! sound again or gone. Grants count at once here too. A key that is rotated in the meantime does not:
//! which Secret it came from is not in the table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::resolve::{Known, NAMESPACE_NAME, Offer};
use crate::{
    api::{
        AllowedNamespaces, CredentialRef, LabelExpression, LabelOperator, LabelSelector,
        NamespacesFrom,
    },
    table::{Backend, Backends, Credential, ObjectId, Route, Target},
};

/// Routes and credentials by name.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    routes: BTreeMap<ObjectId, Arc<Route>>,
    credentials: BTreeMap<ObjectId, Arc<Credential>>,
    /// Pods too stay as they were: which Service they are of is not in the table.
    backends: Backends,
    /// The namespaces whose routes use a credential, and so may.
    users: BTreeMap<ObjectId, BTreeSet<Arc<str>>>,
}

impl Inherited {
    pub(super) fn new<'a>(
        routes: impl IntoIterator<Item = &'a Arc<Route>>,
        backends: Backends,
    ) -> Self {
        let mut inherited = Self { backends, ..Self::default() };
        for route in routes {
            inherited.routes.insert(route.id.clone(), Arc::clone(route));
            for Target { credential, .. } in route.targets.iter().map(|target| &**target) {
                let id = credential.id.clone();
                let users = inherited.users.entry(id.clone()).or_default();
                users.insert(Arc::clone(&route.id.namespace));
                inherited.credentials.insert(id, Arc::clone(credential));
            }
        }
        inherited
    }

    /// The object is sound again, or gone.
    pub(super) fn forget_credential(&mut self, id: &ObjectId) {
        self.credentials.remove(id);
        self.backends.remove(id);
        self.users.remove(id);
    }

    /// As [`Inherited::forget_credential`].
    pub(super) fn forget_route(&mut self, id: &ObjectId) {
        self.routes.remove(id);
    }

    /// The pods of a credential as they were published.
    pub(super) fn backend(&self, id: &ObjectId) -> Option<Arc<Backend>> {
        self.backends.get(id).map(Arc::clone)
    }

    /// A credential as it was published, for those who used it.
    pub(super) fn offer(&self, id: &ObjectId) -> Option<Offer> {
        let credential = Some(Arc::clone(self.credentials.get(id)?));
        let users = self.users.get(id).into_iter().flatten();
        let expression = LabelExpression {
            key: NAMESPACE_NAME.to_owned(),
            operator: LabelOperator::In,
            values: Some(users.map(ToString::to_string).collect()),
        };
        let selector =
            LabelSelector { match_labels: BTreeMap::new(), match_expressions: vec![expression] };
        let allowed =
            AllowedNamespaces { from: NamespacesFrom::Selector, selector: Some(selector) };
        // What it said of its models is published with the targets alone, and these keep it.
        Some(Offer { credential, models: Vec::new(), allowed, note: String::new() })
    }

    /// A route as it was published, with those of its targets that it may still use, and the
    /// credentials that it names.
    pub(super) fn route(
        &self,
        id: &ObjectId,
        known: Known<'_>,
    ) -> Option<(Route, Vec<String>, BTreeSet<ObjectId>)> {
        let was = self.routes.get(id)?;
        let allowed = |target: &Arc<Target>| {
            let ObjectId { namespace, name } = &target.credential.id;
            let wanted =
                CredentialRef { name: name.to_string(), namespace: Some(namespace.to_string()) };
            let (credential, _) =
                known.credential(&id.namespace, &target.name, &wanted, "").ok()?;
            Some(Arc::new(Target { credential, ..Target::clone(target) }))
        };
        let targets = was.targets.iter().filter_map(allowed).collect();
        let names = was.targets.iter().map(|target| target.name.to_string()).collect();
        let named = was.targets.iter().map(|target| target.credential.id.clone()).collect();
        Some((Route { targets, ..Route::clone(was) }, names, named))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Compiler, Entry, LastGood, Options, Reason, Snapshot, Source, Touched},
        *,
    };

    fn id(name: &str) -> ObjectId {
        ObjectId::new("team", name)
    }

    fn entry<S: serde::de::DeserializeOwned>(text: &str) -> Entry<S> {
        let spec = Some(Arc::new(serde_yaml::from_str(text).unwrap()));
        Entry { source: Source::default(), created: 0, spec, problems: Vec::new() }
    }

    const GOOD: &str =
        "{ models: [chat], targets: [{ name: t, model: m, credentialRef: { name: c } }] }";
    const BAD: &str =
        "{ models: ['two words'], targets: [{ name: t, model: m, credentialRef: { name: c } }] }";

    fn snapshot(provider: &str, route: &str) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let credential = format!("{{ provider: {provider}, auth: {{ none: {{}} }} }}");
        snapshot.credentials.insert(id("c"), entry(&credential));
        snapshot.routes.insert(id("chat"), entry(route));
        snapshot
    }

    /// A compiler that was started when this was published.
    fn restarted(published: &Compiler, snapshot: &Snapshot) -> Compiler {
        let mut compiler = Compiler::new(Options::default(), LastGood::default());
        compiler.inherit(published.served(), published.backends().clone());
        compiler.update(snapshot, &Touched::everything(snapshot));
        compiler
    }

    fn first() -> Compiler {
        restarted(
            &Compiler::new(Options::default(), LastGood::default()),
            &snapshot("OpenAI", GOOD),
        )
    }

    #[test]
    fn a_restart_after_a_bad_edit_changes_nothing_that_is_served() {
        for (provider, route) in [("OpenAI", BAD), ("Nobody", GOOD), ("Nobody", BAD)] {
            let (before, snapshot) = (first(), snapshot(provider, route));
            let after = restarted(&before, &snapshot);
            assert!(before.served().eq(after.served()), "{provider} {route}");
            let mut told = after.reports().filter_map(|report| Some(report.ready?.reason));
            assert!(told.any(|reason| reason == Reason::LastGood));
        }
    }

    #[test]
    fn what_is_sound_again_or_gone_is_not_what_was_published() {
        let mut snapshot = snapshot("OpenAI", BAD);
        let mut compiler = restarted(&first(), &snapshot);
        let touched = || Touched { routes: [id("chat")].into(), ..Touched::default() };
        snapshot.routes.insert(id("chat"), entry(&GOOD.replace("[chat]", "[other]")));
        compiler.update(&snapshot, &touched());
        let models = |compiler: &Compiler| compiler.route(&id("chat")).unwrap().models.clone();
        assert_eq!(models(&compiler)[0].to_string(), "other");
        snapshot.routes.insert(id("chat"), entry(BAD));
        compiler.update(&snapshot, &touched());
        assert_eq!(models(&compiler)[0].to_string(), "other", "the last good one, not the first");
        snapshot.routes.remove(&id("chat"));
        compiler.update(&snapshot, &touched());
        snapshot.routes.insert(id("chat"), entry(BAD));
        compiler.update(&snapshot, &touched());
        assert_eq!(compiler.served().count(), 0);
    }

    #[test]
    fn a_credential_that_is_gone_counts_at_once() {
        let mut snapshot = snapshot("OpenAI", BAD);
        snapshot.credentials.clear();
        let compiler = restarted(&first(), &snapshot);
        assert!(compiler.route(&id("chat")).unwrap().targets.is_empty());
    }
}
