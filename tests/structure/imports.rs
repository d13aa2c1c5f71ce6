//! The imports between the files of a crate: the names that one file uses and another defines.
//!
//! Counted: `use` items including re-exports and globs, and paths in code, in attributes, and in
//! the arguments and rules of macros. A name counts for the file that defines it, through any
//! number of re-exporting modules. Not counted: `mod child;`, the import of a module alone (its
//! names count where they are used), restricted visibilities, documentation, and code that is
//! compiled only for tests.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemUse, Macro, Meta, Path, TraitItem, VisRestricted};

use crate::attributes;
use crate::modules::{ModuleId, Modules, plain};
use crate::resolve::{Definition, resolve};

/// The names that one file uses from another, by (from, to).
pub(crate) type Imports = BTreeMap<(String, String), BTreeSet<String>>;

/// Collects all imports between different files of a crate.
pub(crate) fn imports(modules: &Modules) -> Imports {
    let mut imports = Imports::new();
    for id in modules.ids() {
        let module = modules.get(id);
        let mut uses = Uses {
            modules,
            module: id,
            imports: &mut imports,
        };
        for import in &module.imports {
            if import.glob {
                uses.glob(&import.path);
            } else {
                uses.path(&import.path);
            }
        }
        if let Some(code) = &module.code {
            uses.visit_file(code);
        }
    }
    imports
}

struct Uses<'a> {
    modules: &'a Modules,
    module: ModuleId,
    imports: &'a mut Imports,
}

impl Uses<'_> {
    fn path(&mut self, path: &[String]) {
        for definition in resolve(self.modules, self.module, path) {
            if let Definition::Item { file, name } = definition {
                self.add(file, name);
            }
        }
    }

    fn glob(&mut self, path: &[String]) {
        for definition in resolve(self.modules, self.module, path) {
            match definition {
                Definition::Module(source) => {
                    self.add(self.modules.get(source).file.clone(), "*".to_owned());
                }
                Definition::Item { file, name } => self.add(file, format!("{name}::*")),
            }
        }
    }

    /// Counts `name!` for every file with rules for it, unless a path leads to it: `macro_rules!`
    /// apply by textual order.
    fn macro_name(&mut self, name: &str) {
        if resolve(self.modules, self.module, &[name.to_owned()]).is_empty() {
            for file in self.modules.macros(name) {
                self.add(file.clone(), name.to_owned());
            }
        }
    }

    fn add(&mut self, file: String, name: String) {
        let from = &self.modules.get(self.module).file;
        if *from != file {
            let names = self.imports.entry((from.clone(), file)).or_default();
            names.insert(name);
        }
    }

    /// Collects the paths in unparsed tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        // Colons since the last part of the path. Two join it to the next part.
        let mut colons = 0;
        // Dots before an identifier: after one comes a field or a method, after two (a range)
        // anything.
        let mut dots = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.path(&std::mem::take(&mut path));
                    }
                    if dots != 1 {
                        path.push(plain(&name));
                    }
                    (colons, dots) = (0, 0);
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => colons += 1,
                other => {
                    let dot = matches!(&other, TokenTree::Punct(mark) if mark.as_char() == '.');
                    dots = if dot { dots + 1 } else { 0 };
                    self.path(&std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(&path);
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes::compiled(attributes::of_item(item)) {
            return;
        }
        let Item::Mod(module) = item else {
            return visit::visit_item(self, item);
        };
        // A module in a file of its own is visited with that file.
        if let Some((_, items)) = &module.content
            && let Some(child) = self.modules.child(self.module, &plain(&module.ident))
        {
            let parent = std::mem::replace(&mut self.module, child);
            for item in items {
                self.visit_item(item);
            }
            self.module = parent;
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if attributes::compiled(attributes::of_impl_item(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if attributes::compiled(attributes::of_trait_item(item)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let parts = path.segments.iter().map(|part| plain(&part.ident));
            self.path(&parts.collect::<Vec<_>>());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Some(name) = call.path.get_ident() {
            self.macro_name(&plain(name));
        }
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => {
                self.tokens(list.tokens.clone());
                self.quoted(list.tokens.clone());
            }
            Meta::Path(_) | Meta::NameValue(_) => {}
        }
    }

    // The module's imports already cover these.
    fn visit_item_use(&mut self, _: &'ast ItemUse) {}

    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

impl Uses<'_> {
    /// Collects paths in strings, such as `#[serde(with = "crate::seconds")]`.
    fn quoted(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.quoted(group.stream()),
                TokenTree::Literal(text) => {
                    let text = text.to_string();
                    let path = syn::parse_str::<Path>(text.trim_matches('"'));
                    if let Ok(path) = path {
                        self.visit_path(&path);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}
