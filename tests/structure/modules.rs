//! The module tree of one crate: the file of each module, and the meaning of each name in it.
//! Follows `mod` declarations from the crate's first file; pure except for the given reader.

use std::collections::{BTreeSet, HashMap};

use syn::visit::{self, Visit};
use syn::{File, ImplItem, Item, ItemMod, TraitItem, UseTree};

use crate::attributes;

/// The index of a module in [`Modules`].
pub(crate) type ModuleId = usize;

/// The root module of the crate.
pub(crate) const ROOT: ModuleId = 0;

/// What a declared name refers to.
pub(crate) enum Meaning {
    /// `mod name`.
    Module(ModuleId),
    /// Anything else, with the file that defines it.
    Item(String),
    /// `use path as name`.
    Import(Vec<String>),
}

/// One path of a `use` item.
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    /// `use path::*`.
    pub(crate) glob: bool,
}

/// One module.
pub(crate) struct Module {
    /// Relative to the repository root.
    pub(crate) file: String,
    /// `None` for the root module.
    pub(crate) parent: Option<ModuleId>,
    /// `None` for an inline module, whose code is part of an ancestor's.
    pub(crate) code: Option<File>,
    pub(crate) names: HashMap<String, Vec<Meaning>>,
    pub(crate) imports: Vec<Import>,
    /// The folder with the files of its child modules.
    folder: String,
}

/// All modules of a crate.
#[derive(Default)]
pub(crate) struct Modules {
    all: Vec<Module>,
    /// The files that define each macro, because a macro's name is visible outside its module.
    macros: HashMap<String, BTreeSet<String>>,
}

type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Modules {
    /// Reads the crate whose first file is `root`.
    pub(crate) fn load(root: &str, read: Read) -> Self {
        let mut modules = Self::default();
        modules.read_file(root, folder_of(root), None, read);
        modules
    }

    pub(crate) fn get(&self, id: ModuleId) -> &Module {
        &self.all[id]
    }

    /// The files that define rules for `name!`.
    pub(crate) fn macros(&self, name: &str) -> impl Iterator<Item = &String> {
        self.macros.get(name).into_iter().flatten()
    }

    pub(crate) fn ids(&self) -> std::ops::Range<ModuleId> {
        0..self.all.len()
    }

    /// Finds the child of a module by name.
    pub(crate) fn child(&self, parent: ModuleId, name: &str) -> Option<ModuleId> {
        let meanings = self.get(parent).names.get(name)?;
        meanings.iter().find_map(|meaning| match meaning {
            Meaning::Module(child) => Some(*child),
            Meaning::Item(_) | Meaning::Import(_) => None,
        })
    }

    fn read_file(
        &mut self,
        file: &str,
        folder: String,
        parent: Option<ModuleId>,
        read: Read,
    ) -> ModuleId {
        let text = read(file).unwrap_or_else(|| panic!("{file} is declared and does not exist"));
        let code = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let module = self.add(file, folder, parent);
        if attributes::compiled(&code.attrs) {
            let mut declarations = Declarations {
                modules: self,
                module,
                read,
            };
            declarations.visit_file(&code);
            self.all[module].code = Some(code);
        }
        module
    }

    fn add(&mut self, file: &str, folder: String, parent: Option<ModuleId>) -> ModuleId {
        self.all.push(Module {
            file: file.to_owned(),
            parent,
            code: None,
            names: HashMap::new(),
            imports: Vec::new(),
            folder,
        });
        self.all.len() - 1
    }

    fn declare(&mut self, module: ModuleId, name: String, meaning: Meaning) {
        let meanings = self.all[module].names.entry(name).or_default();
        meanings.push(meaning);
    }

    fn is_inline(&self, module: ModuleId) -> bool {
        let Module { file, parent, .. } = self.get(module);
        parent.is_some_and(|parent| self.get(parent).file == *file)
    }
}

/// Collects the declarations of a module. Names inside a function count as names of its module,
/// because the block does not change the file that a name comes from.
struct Declarations<'a> {
    modules: &'a mut Modules,
    module: ModuleId,
    read: Read<'a>,
}

impl Declarations<'_> {
    fn child(&mut self, item: &ItemMod) {
        let name = plain(&item.ident);
        let parent = self.modules.get(self.module);
        let (file, folder) = (parent.file.clone(), parent.folder.clone());
        let below = format!("{folder}{name}/");
        let child = if let Some((_, items)) = &item.content {
            let child = self.modules.add(&file, below, Some(self.module));
            let parent = std::mem::replace(&mut self.module, child);
            for item in items {
                self.visit_item(item);
            }
            self.module = parent;
            child
        } else if let Some(path) = attributes::path(&item.attrs) {
            let start = if self.modules.is_inline(self.module) {
                folder
            } else {
                folder_of(&file)
            };
            let file = join(&start, &path);
            let folder = folder_of(&file);
            self.modules
                .read_file(&file, folder, Some(self.module), self.read)
        } else {
            let beside = format!("{folder}{name}.rs");
            let file = match (self.read)(&beside) {
                Some(_) => beside,
                None => format!("{below}mod.rs"),
            };
            self.modules
                .read_file(&file, below, Some(self.module), self.read)
        };
        self.modules
            .declare(self.module, name, Meaning::Module(child));
    }

    fn import(&mut self, tree: &UseTree, before: &[String]) {
        match tree {
            UseTree::Path(part) => {
                let path = [before, &[plain(&part.ident)]].concat();
                self.import(&part.tree, &path);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before);
                }
            }
            UseTree::Glob(_) => self.add_import(before.to_vec(), true),
            UseTree::Name(last) => self.import_name(before, plain(&last.ident), None),
            UseTree::Rename(last) => {
                self.import_name(before, plain(&last.ident), Some(plain(&last.rename)));
            }
        }
    }

    fn import_name(&mut self, before: &[String], last: String, rename: Option<String>) {
        let mut path = before.to_vec();
        // `a::{self}` means `a`; `self` alone means this module.
        if last != "self" || path.is_empty() {
            path.push(last);
        }
        let name = rename.or_else(|| path.last().cloned()).unwrap_or_default();
        self.modules
            .declare(self.module, name, Meaning::Import(path.clone()));
        self.add_import(path, false);
    }

    fn add_import(&mut self, path: Vec<String>, glob: bool) {
        let imports = &mut self.modules.all[self.module].imports;
        imports.push(Import { path, glob });
    }

    fn item(&mut self, name: &syn::Ident, everywhere: bool) {
        let file = self.modules.get(self.module).file.clone();
        let module = if everywhere { ROOT } else { self.module };
        self.modules
            .declare(module, plain(name), Meaning::Item(file));
    }
}

impl<'ast> Visit<'ast> for Declarations<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes::compiled(attributes::of_item(item)) {
            return;
        }
        match item {
            Item::Mod(item) => return self.child(item),
            // `use ::name` refers to another crate.
            Item::Use(item) if item.leading_colon.is_none() => self.import(&item.tree, &[]),
            Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.item(name, false);
                    let file = self.modules.get(self.module).file.clone();
                    let files = self.modules.macros.entry(plain(name)).or_default();
                    files.insert(file);
                    if attributes::has(&item.attrs, "macro_export") {
                        self.item(name, true);
                    }
                }
            }
            Item::Const(item) => self.item(&item.ident, false),
            Item::Enum(item) => self.item(&item.ident, false),
            Item::Fn(item) => self.item(&item.sig.ident, false),
            Item::Static(item) => self.item(&item.ident, false),
            Item::Struct(item) => self.item(&item.ident, false),
            Item::Trait(item) => self.item(&item.ident, false),
            Item::Type(item) => self.item(&item.ident, false),
            Item::Union(item) => self.item(&item.ident, false),
            _ => {}
        }
        visit::visit_item(self, item);
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
}

/// The identifier without `r#`.
pub(crate) fn plain(name: &proc_macro2::Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

/// The folder of a file, with a trailing slash; empty for a file at the root.
fn folder_of(file: &str) -> String {
    file.rfind('/')
        .map_or_else(String::new, |slash| file[..=slash].to_owned())
}

/// Joins `folder` and `path`, and resolves `..` against the folders before it if there are any.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
