//! Finds the file that defines what a path names. Follows `crate`, `self`, `super`, child modules,
//! imports and globs; a path into another crate leads nowhere.

use std::collections::{BTreeSet, HashSet};

use crate::modules::{Meaning, ModuleId, Modules, ROOT};

/// Where a path leads. A name can be both a module and a function, so there can be several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Definition {
    Module(ModuleId),
    /// The item that a path names, or the type that its last part belongs to (`Type::new`).
    Item {
        file: String,
        name: String,
    },
}

/// The lookups in progress: an import can lead back to itself.
type Underway = HashSet<(ModuleId, String)>;

/// Resolves `path` in `module`.
pub(crate) fn resolve(
    modules: &Modules,
    module: ModuleId,
    path: &[String],
) -> BTreeSet<Definition> {
    follow(modules, module, path, &mut Underway::new())
}

fn follow(
    modules: &Modules,
    module: ModuleId,
    path: &[String],
    underway: &mut Underway,
) -> BTreeSet<Definition> {
    let Some((first, mut rest)) = path.split_first() else {
        return BTreeSet::new();
    };
    let mut found = match first.as_str() {
        "crate" => [Definition::Module(ROOT)].into(),
        "self" => [Definition::Module(module)].into(),
        "super" => {
            let mut at = modules.get(module).parent;
            while let Some((next, after)) = rest.split_first()
                && next == "super"
            {
                at = at.and_then(|at| modules.get(at).parent);
                rest = after;
            }
            at.map(Definition::Module).into_iter().collect()
        }
        name => look_up(modules, module, name, underway),
    };
    for name in rest {
        let is_module = |definition: &Definition| matches!(definition, Definition::Module(_));
        // If a module and a function share the name, the path continues from the module.
        let modules_only = found.iter().any(is_module);
        found.retain(|definition| !modules_only || is_module(definition));
        let parts = found.into_iter().flat_map(|definition| match definition {
            Definition::Module(module) => look_up(modules, module, name, underway),
            item @ Definition::Item { .. } => [item].into(),
        });
        found = parts.collect();
    }
    found
}

fn look_up(
    modules: &Modules,
    module: ModuleId,
    name: &str,
    underway: &mut Underway,
) -> BTreeSet<Definition> {
    let mut found = BTreeSet::new();
    if !underway.insert((module, name.to_owned())) {
        return found;
    }
    let this = modules.get(module);
    for meaning in this.names.get(name).into_iter().flatten() {
        match meaning {
            Meaning::Module(child) => {
                found.insert(Definition::Module(*child));
            }
            Meaning::Item(file) => {
                found.insert(Definition::Item {
                    file: file.clone(),
                    name: name.to_owned(),
                });
            }
            Meaning::Import(path) => found.extend(follow(modules, module, path, underway)),
        }
    }
    if found.is_empty() && !this.names.contains_key(name) {
        for glob in this.imports.iter().filter(|import| import.glob) {
            for definition in follow(modules, module, &glob.path, underway) {
                if let Definition::Module(source) = definition {
                    found.extend(look_up(modules, source, name, underway));
                }
            }
        }
    }
    underway.remove(&(module, name.to_owned()));
    found
}
