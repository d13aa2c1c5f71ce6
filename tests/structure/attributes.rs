//! Reads the attributes that matter here: whether an item is compiled outside tests, and where the
//! file of a module is.

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ImplItem, Item, Lit, Meta, Token, TraitItem};

/// Whether an item with these attributes can be compiled outside tests.
pub(crate) fn compiled(attributes: &[Attribute]) -> bool {
    attributes.iter().all(|attribute| {
        let condition = attribute
            .path()
            .is_ident("cfg")
            .then(|| attribute.parse_args::<Meta>());
        !matches!(condition, Some(Ok(condition)) if outside_tests(&condition) == Some(false))
    }) && !has(attributes, "test")
}

/// The value of a `cfg` condition if `test` is false; `None` if it depends on other conditions.
fn outside_tests(condition: &Meta) -> Option<bool> {
    let Meta::List(list) = condition else {
        return condition.path().is_ident("test").then_some(false);
    };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let values: Vec<Option<bool>> = parts.iter().flatten().map(outside_tests).collect();
    let all = |value: bool| values.iter().all(|part| *part == Some(value));
    let any = |value: bool| values.contains(&Some(value));
    if list.path.is_ident("not") {
        values.first().copied().flatten().map(|value| !value)
    } else if list.path.is_ident("all") {
        (any(false).then_some(false)).or_else(|| all(true).then_some(true))
    } else if list.path.is_ident("any") {
        (any(true).then_some(true)).or_else(|| all(false).then_some(false))
    } else {
        None
    }
}

/// Whether one of the attributes has this name.
pub(crate) fn has(attributes: &[Attribute], name: &str) -> bool {
    let mut paths = attributes.iter().map(Attribute::path);
    paths.any(|path| path.is_ident(name))
}

/// The value of `#[path = "…"]`.
pub(crate) fn path(attributes: &[Attribute]) -> Option<String> {
    let path = attributes.iter().find(|a| a.path().is_ident("path"))?;
    match &path.meta.require_name_value().ok()?.value {
        Expr::Lit(value) => match &value.lit {
            Lit::Str(path) => Some(path.value()),
            _ => None,
        },
        _ => None,
    }
}

/// The attributes of an item. Items of a kind unknown to syn have none.
pub(crate) fn of_item(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of an item of an `impl` block.
pub(crate) fn of_impl_item(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of an item of a trait.
pub(crate) fn of_trait_item(item: &TraitItem) -> &[Attribute] {
    match item {
        TraitItem::Const(item) => &item.attrs,
        TraitItem::Fn(item) => &item.attrs,
        TraitItem::Type(item) => &item.attrs,
        TraitItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}
