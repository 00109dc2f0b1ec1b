//! Which file names which, read from the syntax of the sources.
//!
//! A name is followed to the file that defines it, through `use` and `pub use`: a `mod.rs` that only shows
//! what its files define is tied to none of them. Names inside macros and attributes escape it, and so do
//! methods, which are called without a path. Tests are left out: they may look everywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, ItemMod, ItemUse, Meta, UseTree, Visibility,
    visit::{self, Visit},
};

/// Where a module stands: `["proxy", "upstream"]`.
pub type Place = Vec<String>;

/// How often a name may be passed on by `use` before it reaches its home.
const MOST_HOPS: usize = 8;

/// What a file says.
#[derive(Debug, Default)]
struct Said {
    /// The names that its `use` items bind, with the path of each: whole, or that of another crate.
    bound: BTreeMap<String, Vec<String>>,
    /// Paths that it names: of its imports, but not of what it only shows to others, and in its code.
    paths: BTreeSet<Vec<String>>,
    /// Its modules that only tests have.
    tests: BTreeSet<String>,
}

/// The files of a crate and what they name.
#[derive(Debug)]
pub struct Graph {
    files: BTreeMap<Place, Said>,
}

impl Graph {
    /// Reads every file below `src`.
    pub fn read(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        for file in super::sources(src) {
            let text = fs::read_to_string(&file).expect("a source file");
            let parsed = syn::parse_file(&text).expect("a file that compiles");
            let place = place(file.strip_prefix(src).expect("a file below it"));
            let mut reader = Reader { place: place.clone(), said: Said::default() };
            reader.visit_file(&parsed);
            files.insert(place, reader.said);
        }
        let tests: Vec<Place> = files
            .iter()
            .flat_map(|(place, said)| said.tests.iter().map(|name| joined(place, [name.clone()])))
            .collect();
        files.retain(|place, _| !tests.iter().any(|test| place.starts_with(test)));
        Self { files }
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &Place> {
        self.files.keys()
    }

    /// The other files of the crate that `file` names, each with what it takes from them.
    pub fn named_by(&self, file: &Place) -> BTreeMap<Place, BTreeSet<String>> {
        let mut named = BTreeMap::<_, BTreeSet<_>>::new();
        for path in self.files.get(file).into_iter().flat_map(|said| &said.paths) {
            if let Some((home, name)) = self.home(file, path, 0).filter(|(home, _)| home != file) {
                named.entry(home).or_default().insert(name);
            }
        }
        named
    }

    /// Whether a file names another crate.
    pub fn uses(&self, file: &Place, other: &str) -> bool {
        let paths = self.files.get(file).into_iter().flat_map(|said| &said.paths);
        paths.into_iter().any(|path| path.len() > 1 && path.first().is_some_and(|one| one == other))
    }

    /// The file that defines what stands at a path, and its name there; `None` for what is not ours.
    fn home(&self, from: &Place, path: &[String], hops: usize) -> Option<(Place, String)> {
        let first = path.first()?;
        let path = match first.as_str() {
            "crate" => path.get(1..)?.to_vec(),
            name if path.len() > 1 && self.files.contains_key(&joined(from, [name.to_owned()])) => {
                joined(from, path.iter().cloned())
            }
            name => {
                let bound = self.files.get(from)?.bound.get(name)?;
                if hops == MOST_HOPS || bound.as_slice() == path {
                    return None;
                }
                let whole = joined(bound, path.iter().skip(1).cloned());
                return self.home(from, &whole, hops + 1);
            }
        };
        let depth = (1..=path.len())
            .rev()
            .find(|end| path.get(..*end).is_some_and(|place| self.files.contains_key(place)))?;
        let (place, rest) = path.split_at(depth);
        let Some(name) = rest.first() else {
            return Some((place.to_vec(), "itself".to_owned()));
        };
        match self.files.get(place)?.bound.get(name) {
            Some(bound) if hops < MOST_HOPS => {
                let whole = joined(bound, rest.iter().skip(1).cloned());
                self.home(&place.to_vec(), &whole, hops + 1)
            }
            _ => Some((place.to_vec(), name.clone())),
        }
    }

    /// The groups of files in which each names every other, directly or not.
    pub fn circles(&self) -> Vec<BTreeSet<Place>> {
        let named: BTreeMap<&Place, Vec<Place>> =
            self.files().map(|file| (file, self.named_by(file).into_keys().collect())).collect();
        let reached: BTreeMap<&Place, BTreeSet<Place>> =
            named.keys().map(|file| (*file, reached(file, &named))).collect();
        let circle = |file: &Place| -> BTreeSet<Place> {
            let others = reached.get(file).into_iter().flatten();
            others
                .filter(|other| reached.get(other).is_some_and(|one| one.contains(file)))
                .cloned()
                .collect()
        };
        let circles: BTreeSet<_> = self.files().map(circle).filter(|one| !one.is_empty()).collect();
        circles.into_iter().collect()
    }
}

/// What can be reached from a file; itself only by a way round.
fn reached(file: &Place, named: &BTreeMap<&Place, Vec<Place>>) -> BTreeSet<Place> {
    let (mut found, mut open) = (BTreeSet::new(), vec![file.clone()]);
    while let Some(one) = open.pop() {
        for next in named.get(&one).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    found
}

fn joined(place: &[String], rest: impl IntoIterator<Item = String>) -> Place {
    place.iter().cloned().chain(rest).collect()
}

/// `proxy/upstream/mod.rs` and `proxy/upstream.rs` are `["proxy", "upstream"]`.
fn place(file: &Path) -> Place {
    let names = file.with_extension("");
    let mut place: Place =
        names.iter().map(|name| name.to_str().expect("a plain name").to_owned()).collect();
    if place.last().is_some_and(|name| name == "mod") {
        place.pop();
    }
    place
}

/// Reads one file.
struct Reader {
    /// Where it stands now: inside a module that is written in the file, one deeper.
    place: Place,
    said: Said,
}

impl Reader {
    /// A path as seen from the crate: `super` and `self` are gone.
    fn whole(&self, path: &[String]) -> Vec<String> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let own = path.first().is_some_and(|name| name == "self");
        if ups == 0 && !own {
            return path.to_vec();
        }
        let above = self.place.len().saturating_sub(ups);
        let rest = path.iter().skip(ups + usize::from(own)).cloned();
        let base = self.place.iter().take(above).cloned();
        ["crate".to_owned()].into_iter().chain(base).chain(rest).collect()
    }

    fn import(&mut self, tree: &UseTree, before: &mut Vec<String>, shown: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before, shown);
                before.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, before, shown));
            }
            UseTree::Name(name) => {
                self.bind(&name.ident.to_string(), &name.ident.to_string(), before, shown);
            }
            UseTree::Rename(name) => {
                self.bind(&name.rename.to_string(), &name.ident.to_string(), before, shown);
            }
            UseTree::Glob(_) => {
                let path = self.whole(before);
                self.said.paths.insert(path);
            }
        }
    }

    fn bind(&mut self, bound: &str, name: &str, before: &[String], shown: bool) {
        let (bound, path) = match (name, before.last()) {
            ("self", Some(last)) if bound == "self" => (last.clone(), before.to_vec()),
            ("self", Some(_)) => (bound.to_owned(), before.to_vec()),
            _ => (bound.to_owned(), joined(before, [name.to_owned()])),
        };
        let path = self.whole(&path);
        if !shown {
            self.said.paths.insert(path.clone());
        }
        self.said.bound.insert(bound, path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, i: &'ast ItemUse) {
        if !i.attrs.iter().any(is_test) {
            let shown = !matches!(i.vis, Visibility::Inherited);
            self.import(&i.tree, &mut Vec::new(), shown);
        }
    }

    fn visit_item_mod(&mut self, i: &'ast ItemMod) {
        if i.attrs.iter().any(is_test) {
            self.said.tests.insert(i.ident.to_string());
        } else if i.content.is_some() {
            self.place.push(i.ident.to_string());
            visit::visit_item_mod(self, i);
            self.place.pop();
        }
    }

    fn visit_path(&mut self, i: &'ast syn::Path) {
        let names: Vec<_> = i.segments.iter().map(|one| one.ident.to_string()).collect();
        let whole = self.whole(&names);
        self.said.paths.insert(whole);
        visit::visit_path(self, i);
    }

    /// `pub(super)` says who may see, and names nobody.
    fn visit_vis_restricted(&mut self, _i: &'ast syn::VisRestricted) {}

    fn visit_item_fn(&mut self, i: &'ast syn::ItemFn) {
        if !i.attrs.iter().any(is_test) {
            visit::visit_item_fn(self, i);
        }
    }

    fn visit_item_impl(&mut self, i: &'ast syn::ItemImpl) {
        if !i.attrs.iter().any(is_test) {
            visit::visit_item_impl(self, i);
        }
    }
}

fn is_test(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}
