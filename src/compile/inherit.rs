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
    table::{Backend, Backends, Consumer, Consumers, Credential, ObjectId, Route, Target},
};

/// Routes, consumers and credentials by name.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    routes: BTreeMap<ObjectId, Arc<Route>>,
    consumers: BTreeMap<ObjectId, Arc<Consumer>>,
    credentials: BTreeMap<ObjectId, Arc<Credential>>,
    /// Pods too stay as they were: which Service they are of is not in the table.
    backends: Backends,
    /// The namespaces whose routes use a credential, and so may.
    users: BTreeMap<ObjectId, BTreeSet<Arc<str>>>,
}

impl Inherited {
    pub(super) fn new<'a>(
        routes: impl IntoIterator<Item = &'a Arc<Route>>,
        consumers: &Consumers,
        backends: Backends,
    ) -> Self {
        // One without a key stands for one that was never good.
        let good = consumers.all().iter().filter(|consumer| !consumer.keys.is_empty());
        let consumers = good.map(|it| (it.id.clone(), Arc::clone(it))).collect();
        let mut inherited = Self { consumers, backends, ..Self::default() };
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

    /// As [`Inherited::forget_credential`].
    pub(super) fn forget_consumer(&mut self, id: &ObjectId) {
        self.consumers.remove(id);
    }

    /// Keeps the consumers that are still there.
    pub(super) fn retain_consumers(&mut self, is_there: impl Fn(&ObjectId) -> bool) {
        self.consumers.retain(|id, _| is_there(id));
    }

    /// A consumer as it was published.
    pub(super) fn consumer(&self, id: &ObjectId) -> Option<&Consumer> {
        Some(self.consumers.get(id)?)
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
    use secrecy::SecretSlice;

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
        let (consumers, backends) = (published.consumers(), published.backends().clone());
        compiler.inherit(published.served(), consumers, backends);
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
    fn a_restart_after_a_bad_edit_of_a_consumer_locks_nobody_out() {
        let consumer = |groups: &str| {
            let key = "{ name: k, secretRef: { name: s, key: k } }";
            entry(&format!("{{ groups: [{groups}], auth: {{ apiKeys: [{key}] }} }}"))
        };
        let mut snapshot = snapshot("OpenAI", GOOD);
        let data = [("k".to_owned(), SecretSlice::from(b"sk-0123456789abcdef0123456789".to_vec()))];
        snapshot.secrets.insert(id("s"), data.into());
        snapshot.consumers.insert(id("app"), consumer("a"));
        let empty = Compiler::new(Options::default(), LastGood::default());
        let before = restarted(&empty, &snapshot);
        assert_eq!(before.consumers().all()[0].keys.len(), 1);

        snapshot.consumers.insert(id("app"), consumer("'two words'"));
        let mut after = restarted(&before, &snapshot);
        assert_eq!(after.consumers(), before.consumers());
        let ready = after.consumer_report(&id("app")).unwrap().ready.unwrap();
        assert_eq!((ready.status, ready.reason), (true, Reason::LastGood));

        let touched = || Touched { consumers: [id("app")].into(), ..Touched::default() };
        snapshot.consumers.insert(id("app"), consumer("b"));
        after.update(&snapshot, &touched());
        assert_eq!(&*after.consumers().all()[0].groups[0], "b");
        snapshot.consumers.remove(&id("app"));
        after.update(&snapshot, &touched());
        snapshot.consumers.insert(id("app"), consumer("'two words'"));
        after.update(&snapshot, &touched());
        assert!(after.consumers().all().iter().all(|consumer| consumer.keys.is_empty()));
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
