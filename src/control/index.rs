//! The objects as the watches tell of them, in the form that `compile` looks at.
//!
//! Pure: news go in, and out comes a [`Snapshot`], what in it was touched, and which `Secret`s,
//! `ConfigMap`s and `EndpointSlice`s somebody has to look at now. Nobody looks at any other.
//!
//! Nothing may be compiled before everything is known once ([`Index::is_complete`]): a table without
//! the keys that have not been read yet would be a wrong one. For the same reason a credential whose
//! references are still on their way is held back, and its earlier version stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    about::{About, differs, note},
    kind::{Kind, Scope},
    known::{Known, note_gone},
    named::{Needs, scopes, secrets},
    object::{Declared, Object, Proxy},
    progress::Key,
    slices,
    watch::{Change, News, Told},
};
use crate::{
    api::{
        ModelConsumerSpec, ModelConsumerStatus, ModelRouteStatus, ProviderCredentialSpec,
        ProviderCredentialStatus,
    },
    compile::{Snapshot, Touched},
    table::ObjectId,
};

type Credential = Declared<ProviderCredentialSpec, ProviderCredentialStatus>;
type Consumer = Declared<ModelConsumerSpec, ModelConsumerStatus>;

/// An object whose references are on their way.
#[derive(Debug)]
enum Held {
    Consumer(Box<Consumer>),
    Credential(Box<Credential>),
}

/// Everything that was told.
#[derive(Debug, Default)]
pub struct Index {
    /// What `compile` looks at.
    pub snapshot: Snapshot,
    touched: Touched,
    routes: BTreeMap<ObjectId, About<ModelRouteStatus>>,
    credentials: BTreeMap<ObjectId, About<ProviderCredentialStatus>>,
    consumers: BTreeMap<ObjectId, About<ModelConsumerStatus>>,
    proxies: BTreeMap<ObjectId, Proxy>,
    scopes: BTreeMap<Scope, Known>,
    waiting: BTreeMap<Key, Held>,
    /// What each object names, and who names it.
    wants: BTreeMap<Key, BTreeSet<Scope>>,
    wanted: BTreeMap<Scope, BTreeSet<Key>>,
    /// What is published with keys: until everything was known once, a refusal to show their Secrets
    /// is not taken for an answer.
    guarded: BTreeSet<Key>,
}

impl Index {
    /// Knows nothing, and waits for these scopes. `published` are the objects whose keys are in use.
    pub fn new(scopes: &[Scope], published: BTreeSet<Key>) -> Self {
        let scopes = scopes.iter().map(|scope| (scope.clone(), Known::Asked)).collect();
        Self { scopes, guarded: published, ..Self::default() }
    }

    /// Whether everything is known, so that what is not there does not exist.
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// What is not known yet.
    pub fn missing(&self) -> impl Iterator<Item = &Scope> {
        self.scopes
            .iter()
            .filter(|(scope, known)| !self.settled(scope, **known))
            .map(|(scope, _)| scope)
    }

    /// What changed since the last call.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Whether anything changed.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// What is known of a `ModelRoute`.
    pub fn route(&self, id: &ObjectId) -> Option<&About<ModelRouteStatus>> {
        self.routes.get(id)
    }

    /// What is known of a `ProviderCredential`.
    pub fn credential(&self, id: &ObjectId) -> Option<&About<ProviderCredentialStatus>> {
        self.credentials.get(id)
    }

    /// What is known of a `ModelConsumer`.
    pub fn consumer(&self, id: &ObjectId) -> Option<&About<ModelConsumerStatus>> {
        self.consumers.get(id)
    }

    /// Every object that has a status.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let of = |kind| move |id: &ObjectId| (kind, id.clone());
        let routes = self.routes.keys().map(of(Kind::ModelRoute));
        let credentials = self.credentials.keys().map(of(Kind::ProviderCredential));
        routes.chain(credentials).chain(self.consumers.keys().map(of(Kind::ModelConsumer)))
    }

    /// The proxies.
    pub const fn proxies(&self) -> &BTreeMap<ObjectId, Proxy> {
        &self.proxies
    }

    /// Takes over what this process has just written, before its echo comes.
    pub fn wrote_route(&mut self, id: &ObjectId, uid: &str, status: ModelRouteStatus) {
        if let Some(about) = self.routes.get_mut(id).filter(|about| about.uid == uid) {
            about.status = status;
        }
    }

    /// As [`Index::wrote_route`].
    pub fn wrote_credential(&mut self, id: &ObjectId, uid: &str, status: ProviderCredentialStatus) {
        if let Some(about) = self.credentials.get_mut(id).filter(|about| about.uid == uid) {
            about.status = status;
        }
    }

    /// As [`Index::wrote_route`].
    pub fn wrote_consumer(&mut self, id: &ObjectId, uid: &str, status: ModelConsumerStatus) {
        if let Some(about) = self.consumers.get_mut(id).filter(|about| about.uid == uid) {
            about.status = status;
        }
    }

    /// Takes news over.
    pub fn apply(&mut self, news: News, now: Instant) -> Needs {
        let News { scope, told } = news;
        let mut needs = Needs::default();
        // A watch that was told to end may have had something to say still.
        let Some(known) = self.scopes.get_mut(&scope) else { return needs };
        match told {
            Told::Refused => *known = known.refused(),
            Told::Changed(changes) => {
                *known = Known::Told;
                for change in changes {
                    match change {
                        Change::Applied(id, object) => self.applied(id, object, now, &mut needs),
                        Change::Deleted(id) => self.deleted(&scope, &id, &mut needs),
                    }
                }
            }
        }
        if matches!(scope.kind, Kind::ConfigMap | Kind::EndpointSlice | Kind::Secret) {
            self.answered(&scope);
        }
        for scope in note_gone(&mut self.scopes, &self.snapshot.namespaces) {
            for id in self.within(&scope) {
                self.deleted(&scope, &id, &mut needs);
            }
        }
        if !self.guarded.is_empty() && self.is_complete() {
            self.guarded.clear();
        }
        needs
    }

    /// Takes over what the versions of an object that are in use name: its written and its last good
    /// one may name different Secrets.
    pub fn use_only(&mut self, key: &Key, wants: &BTreeSet<Scope>) -> Needs {
        let mut needs = Needs::default();
        if !self.waiting.contains_key(key) {
            self.want(key, wants, &mut needs);
        }
        needs
    }

    /// Holds an object back until what it names was looked at. What its earlier versions name is
    /// looked at still.
    fn hold(
        &mut self,
        key: &Key,
        held: Held,
        more: impl Iterator<Item = Scope>,
        now: Instant,
        needs: &mut Needs,
    ) {
        let wants = self.wants.get(key).into_iter().flatten().cloned().chain(more).collect();
        self.want(key, &wants, needs);
        self.waiting.insert(key.clone(), held);
        self.release(key, now);
    }

    fn applied(&mut self, id: ObjectId, object: Object, now: Instant, needs: &mut Needs) {
        match object {
            Object::Route(declared) => {
                let Declared { uid, generation, entry, status } = *declared;
                let about = About { uid, generation, seen: now, status };
                note(&mut self.routes, id.clone(), about);
                if differs(self.snapshot.routes.get(&id), &entry) {
                    self.snapshot.routes.insert(id.clone(), entry);
                    self.touched.routes.insert(id);
                }
            }
            Object::Credential(declared) => {
                let more: Vec<_> =
                    declared.entry.spec.iter().flat_map(|spec| scopes(&id, spec)).collect();
                let key = (Kind::ProviderCredential, id);
                self.hold(&key, Held::Credential(declared), more.into_iter(), now, needs);
            }
            Object::Consumer(declared) => {
                let more: Vec<_> =
                    declared.entry.spec.iter().flat_map(|spec| secrets(&id, spec)).collect();
                let key = (Kind::ModelConsumer, id);
                self.hold(&key, Held::Consumer(declared), more.into_iter(), now, needs);
            }
            Object::ConfigMap(texts) => {
                if self.snapshot.config_maps.get(&id) != Some(&texts) {
                    self.snapshot.config_maps.insert(id.clone(), texts);
                    self.touched.config_maps.insert(id);
                }
            }
            Object::Secret(values) => {
                self.snapshot.secrets.insert(id.clone(), values);
                self.touched.secrets.insert(id);
            }
            Object::Namespace(labels) => {
                let name = Arc::clone(&id.name);
                if self.snapshot.namespaces.get(&*name) != Some(&labels) {
                    self.snapshot.namespaces.insert(name.to_string(), labels);
                    self.touched.namespaces.insert(name);
                }
            }
            Object::Proxy(proxy) => {
                self.proxies.insert(id, proxy);
            }
            // It has a watch of its own, and no table hangs on it.
            Object::Autoscaler(_) => {}
            Object::Slice(service, slice) => {
                let name = (service, &id.name);
                slices::applied(&mut self.snapshot, &mut self.touched, name, slice);
            }
        }
    }

    fn deleted(&mut self, scope: &Scope, id: &ObjectId, needs: &mut Needs) {
        let kind = scope.kind;
        match kind {
            Kind::ModelRoute => {
                self.routes.remove(id);
                if self.snapshot.routes.remove(id).is_some() {
                    self.touched.routes.insert(id.clone());
                }
            }
            Kind::ProviderCredential => {
                self.abandon(&(kind, id.clone()), needs);
                self.credentials.remove(id);
                if self.snapshot.credentials.remove(id).is_some() {
                    self.touched.credentials.insert(id.clone());
                }
            }
            Kind::ModelConsumer => {
                self.abandon(&(kind, id.clone()), needs);
                self.consumers.remove(id);
                if self.snapshot.consumers.remove(id).is_some() {
                    self.touched.consumers.insert(id.clone());
                }
            }
            Kind::ConfigMap => {
                if self.snapshot.config_maps.remove(id).is_some() {
                    self.touched.config_maps.insert(id.clone());
                }
            }
            Kind::EndpointSlice => {
                let Some(service) = scope.service() else { return };
                let name = (service, &id.name);
                slices::deleted(&mut self.snapshot, &mut self.touched, name);
            }
            Kind::Secret => {
                if self.snapshot.secrets.remove(id).is_some() {
                    self.touched.secrets.insert(id.clone());
                }
            }
            Kind::Namespace => {
                if self.snapshot.namespaces.remove(&*id.name).is_some() {
                    self.touched.namespaces.insert(Arc::clone(&id.name));
                }
            }
            Kind::ModelAutoscaler => {}
            Kind::Pod => {
                self.proxies.remove(id);
            }
        }
    }

    /// The objects with a status that are known of a scope. What they name goes with them.
    fn within(&self, scope: &Scope) -> Vec<ObjectId> {
        let inside = |id: &&ObjectId| scope.namespace.as_ref() == Some(&id.namespace);
        match scope.kind {
            Kind::ModelRoute => self.routes.keys().filter(inside).cloned().collect(),
            Kind::ProviderCredential => self.credentials.keys().filter(inside).cloned().collect(),
            Kind::ModelConsumer => self.consumers.keys().filter(inside).cloned().collect(),
            Kind::ConfigMap
            | Kind::EndpointSlice
            | Kind::ModelAutoscaler
            | Kind::Namespace
            | Kind::Pod
            | Kind::Secret => Vec::new(),
        }
    }

    /// An object is gone, and with it what it waited for.
    fn abandon(&mut self, key: &Key, needs: &mut Needs) {
        self.waiting.remove(key);
        self.want(key, &BTreeSet::new(), needs);
    }

    /// Something that an object names was looked at, or the look was refused.
    fn answered(&mut self, scope: &Scope) {
        let refused = self.scopes.get(scope) == Some(&Known::Refused);
        if let Some(service) = scope.service() {
            slices::answered(&mut self.snapshot, &mut self.touched, service, refused);
        } else if let Some(name) = &scope.name {
            let id = ObjectId::new(scope.namespace.clone().unwrap_or_default(), Arc::clone(name));
            let refusals = &mut self.snapshot.refused;
            if if refused { refusals.insert(id.clone()) } else { refusals.remove(&id) } {
                self.touch(scope.kind, id);
            }
        }
        for key in self.wanted.get(scope).cloned().into_iter().flatten() {
            self.release(&key, Instant::now());
        }
    }

    fn touch(&mut self, kind: Kind, id: ObjectId) {
        match kind {
            Kind::Secret => self.touched.secrets.insert(id),
            Kind::ConfigMap => self.touched.config_maps.insert(id),
            Kind::EndpointSlice
            | Kind::ModelAutoscaler
            | Kind::ModelConsumer
            | Kind::ModelRoute
            | Kind::Namespace
            | Kind::Pod
            | Kind::ProviderCredential => false,
        };
    }

    /// Lets an object through once all that it names was looked at.
    fn release(&mut self, key: &Key, now: Instant) {
        let mut wants = self.wants.get(key).into_iter().flatten();
        let known =
            |scope: &Scope| self.scopes.get(scope).is_some_and(|known| self.settled(scope, *known));
        if !wants.all(known) {
            return;
        }
        let id = key.1.clone();
        match self.waiting.remove(key) {
            None => {}
            Some(Held::Credential(declared)) => {
                let Declared { uid, generation, entry, status } = *declared;
                let about = About { uid, generation, seen: now, status };
                note(&mut self.credentials, id.clone(), about);
                if differs(self.snapshot.credentials.get(&id), &entry) {
                    self.snapshot.credentials.insert(id.clone(), entry);
                    self.touched.credentials.insert(id);
                }
            }
            Some(Held::Consumer(declared)) => {
                let Declared { uid, generation, entry, status } = *declared;
                let about = About { uid, generation, seen: now, status };
                note(&mut self.consumers, id.clone(), about);
                if differs(self.snapshot.consumers.get(&id), &entry) {
                    self.snapshot.consumers.insert(id.clone(), entry);
                    self.touched.consumers.insert(id);
                }
            }
        }
    }

    fn settled(&self, scope: &Scope, known: Known) -> bool {
        known.is_settled(scope.kind, || {
            let mut users = self.wanted.get(scope).into_iter().flatten();
            users.any(|user| self.guarded.contains(user))
        })
    }

    /// Sets what an object wants to be looked at.
    fn want(&mut self, id: &Key, wants: &BTreeSet<Scope>, needs: &mut Needs) {
        let before = if wants.is_empty() {
            self.wants.remove(id).unwrap_or_default()
        } else {
            self.wants.insert(id.clone(), wants.clone()).unwrap_or_default()
        };
        for scope in wants.difference(&before) {
            let users = self.wanted.entry(scope.clone()).or_default();
            users.insert(id.clone());
            if users.len() == 1 {
                self.scopes.insert(scope.clone(), Known::Asked);
                needs.begin.push(scope.clone());
            }
        }
        for scope in before.difference(wants) {
            let Some(users) = self.wanted.get_mut(scope) else { continue };
            users.remove(id);
            if users.is_empty() {
                self.wanted.remove(scope);
                self.scopes.remove(scope);
                self.forget(scope);
                needs.end.push(scope.clone());
            }
        }
    }

    /// Nobody names it any more, so nothing of it is kept.
    fn forget(&mut self, scope: &Scope) {
        if let Some(service) = scope.service() {
            slices::forget(&mut self.snapshot, &service);
        }
        let (Some(namespace), Some(name)) = (&scope.namespace, &scope.name) else { return };
        let id = ObjectId::new(Arc::clone(namespace), Arc::clone(name));
        match scope.kind {
            Kind::Secret => drop(self.snapshot.secrets.remove(&id)),
            Kind::ConfigMap => drop(self.snapshot.config_maps.remove(&id)),
            Kind::EndpointSlice
            | Kind::ModelAutoscaler
            | Kind::ModelConsumer
            | Kind::ModelRoute
            | Kind::Namespace
            | Kind::Pod
            | Kind::ProviderCredential => {}
        }
        self.snapshot.refused.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::control::object;

    fn credentials() -> Scope {
        Scope::all(Kind::ProviderCredential, None)
    }

    fn secret(name: &str) -> Scope {
        Scope::one(Kind::Secret, &ObjectId::new("team", name))
    }

    fn index() -> Index {
        Index::new(&[credentials()], BTreeSet::new())
    }

    fn changed(scope: Scope, changes: Vec<Change>) -> News {
        News { scope, told: Told::Changed(changes) }
    }

    fn applied(kind: Kind, name: &str, rest: &Value) -> Change {
        let mut value = json!({"metadata": {"name": name, "namespace": "team",
            "resourceVersion": "1", "uid": name, "generation": 1}});
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let read = object::read(kind, serde_json::from_value(value).unwrap()).unwrap();
        Change::Applied(read.id, read.object)
    }

    /// A credential with one key in each of some Secrets.
    fn credential(name: &str, secrets: &[&str]) -> News {
        let keys: Vec<_> = secrets
            .iter()
            .map(|secret| json!({"name": secret, "secretRef": {"name": secret, "key": "k"}}))
            .collect();
        let spec = json!({"spec": {"provider": "OpenAI", "auth": {"apiKey": {"keys": keys}}}});
        changed(credentials(), vec![applied(Kind::ProviderCredential, name, &spec)])
    }

    fn apply(index: &mut Index, news: News) -> Needs {
        index.apply(news, Instant::now())
    }

    fn there(index: &Index) -> Vec<String> {
        index.snapshot.credentials.keys().map(|id| id.name.to_string()).collect()
    }

    #[tokio::test]
    async fn only_the_secrets_that_credentials_name_are_looked_at_and_only_while_they_do() {
        let mut index = index();
        let needs = apply(&mut index, credential("openai", &["a", "b"]));
        assert_eq!(needs, Needs { begin: vec![secret("a"), secret("b")], end: vec![] });
        let needs = apply(&mut index, credential("other", &["b"]));
        assert_eq!(needs, Needs::default(), "somebody looks at it already");
        let gone = Change::Deleted(ObjectId::new("team", "openai"));
        let needs = apply(&mut index, changed(credentials(), vec![gone]));
        assert_eq!(needs, Needs { begin: vec![], end: vec![secret("a")] });
    }

    #[tokio::test]
    async fn nothing_is_complete_before_every_secret_was_looked_at() {
        let mut index = index();
        assert!(!index.is_complete());
        apply(&mut index, credential("openai", &["a", "b"]));
        let value = applied(Kind::Secret, "a", &json!({"data": {"k": "c2s="}}));
        apply(&mut index, changed(secret("a"), vec![value]));
        assert!(!index.is_complete() && there(&index).is_empty());
        apply(&mut index, changed(secret("b"), vec![]));
        assert!(index.is_complete());
        assert_eq!(there(&index), ["openai"], "a Secret that does not exist was looked at too");
    }

    #[tokio::test]
    async fn a_credential_that_names_another_secret_keeps_its_version_until_that_was_looked_at() {
        let mut index = index();
        apply(&mut index, credential("openai", &["a"]));
        apply(&mut index, changed(secret("a"), vec![]));
        index.take_touched();
        let needs = apply(&mut index, credential("openai", &["b"]));
        assert_eq!(needs.begin, [secret("b")]);
        assert!(!index.is_touched());
        apply(&mut index, changed(secret("b"), vec![]));
        assert!(index.is_touched());
        let id = ObjectId::new("team", "openai");
        let spec = index.snapshot.credentials[&id].spec.clone().unwrap();
        let wants = scopes(&id, &spec).collect();
        let needs = index.use_only(&(Kind::ProviderCredential, id), &wants);
        assert_eq!(needs, Needs { begin: vec![], end: vec![secret("a")] });
    }

    #[tokio::test]
    async fn a_refused_secret_is_its_credentials_own_problem_unless_the_key_is_in_use() {
        let refused = || News { scope: secret("a"), told: Told::Refused };
        let mut fresh = index();
        apply(&mut fresh, credential("openai", &["a"]));
        apply(&mut fresh, refused());
        assert!(fresh.is_complete());
        assert!(fresh.snapshot.refused.contains(&ObjectId::new("team", "a")));

        let published = [(Kind::ProviderCredential, ObjectId::new("team", "openai"))].into();
        let mut index = Index::new(&[credentials()], published);
        apply(&mut index, credential("openai", &["a"]));
        apply(&mut index, refused());
        assert!(!index.is_complete(), "the table in use has the key");
        apply(&mut index, changed(secret("a"), vec![]));
        assert!(index.is_complete() && index.snapshot.refused.is_empty());
    }

    #[tokio::test]
    async fn a_status_touches_nothing_and_an_earlier_sight_keeps_its_time() {
        let scope = Scope::all(Kind::ModelRoute, None);
        let mut index = Index::new(std::slice::from_ref(&scope), BTreeSet::new());
        let route = |status: &str| {
            let rest = json!({"spec": {"models": ["m"], "targets": []},
                "status": {"usableTargets": status}});
            changed(scope.clone(), vec![applied(Kind::ModelRoute, "chat", &rest)])
        };
        let first = Instant::now();
        index.apply(route("0/1"), first);
        assert!(!index.take_touched().is_empty());
        index.apply(route("1/1"), first + std::time::Duration::from_secs(1));
        assert!(!index.is_touched());
        let about = index.route(&ObjectId::new("team", "chat")).unwrap();
        assert_eq!(about.status.usable_targets.as_deref(), Some("1/1"));
        assert_eq!(about.seen, first);
    }
    #[tokio::test]
    async fn the_pods_of_a_service_are_looked_at_while_a_credential_names_it() {
        let mut index = index();
        let spec = json!({"spec": {"provider": "OpenAICompatible", "auth": {"none": {}},
            "endpoint": {"service": {"name": "vllm", "port": "http", "path": "/v1"}}}});
        let credential = applied(Kind::ProviderCredential, "local", &spec);
        let needs = apply(&mut index, changed(credentials(), vec![credential]));
        let service = ObjectId::new("team", "vllm");
        let slices = Scope::slices(&service);
        assert_eq!(needs.begin, std::slice::from_ref(&slices));
        assert!(!index.is_complete() && there(&index).is_empty());
        let slice = json!({"metadata": {"name": "vllm-x", "namespace": "team",
            "resourceVersion": "1", "labels": {"kubernetes.io/service-name": "vllm"}},
            "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "http", "port": 80}]});
        let slice = serde_json::from_value(slice).unwrap();
        let read = object::read(Kind::EndpointSlice, slice).unwrap();
        let id = read.id.clone();
        let one = vec![Change::Applied(read.id, read.object)];
        apply(&mut index, changed(slices.clone(), one));
        assert_eq!(index.snapshot.services[&service].len(), 1);
        assert!(index.is_complete() && there(&index) == ["local"]);
        assert!(index.take_touched().services.contains(&service));
        apply(&mut index, changed(slices.clone(), vec![Change::Deleted(id)]));
        assert!(index.take_touched().services.contains(&service));
        assert!(index.snapshot.services.is_empty());
        let gone = Change::Deleted(ObjectId::new("team", "local"));
        let needs = apply(&mut index, changed(credentials(), vec![gone]));
        assert_eq!(needs.end, [slices]);
    }

    #[tokio::test]
    async fn pods_that_may_not_be_looked_at_are_their_credentials_problem() {
        let mut index = index();
        let spec = json!({"spec": {"provider": "OpenAICompatible", "auth": {"none": {}},
            "endpoint": {"service": {"name": "vllm", "port": "http", "path": "/v1"}}}});
        let credential = applied(Kind::ProviderCredential, "local", &spec);
        apply(&mut index, changed(credentials(), vec![credential]));
        let service = ObjectId::new("team", "vllm");
        apply(&mut index, News { scope: Scope::slices(&service), told: Told::Refused });
        assert!(index.is_complete() && index.snapshot.refused_services.contains(&service));
    }
}
