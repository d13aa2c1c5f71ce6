//! Small crates, each with a planted circle of one kind, and crates without a circle.

use crate::{circles_of, lines};

/// The sources of a crate, and the circles expected in it.
struct Case {
    about: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// Every arrow of the circles, in order; empty for a crate without a circle.
    arrows: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        about: "paths from the root of the crate",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "use crate::a::A; pub struct B(Box<A>);"),
        ],
        arrows: &["a.rs -> b.rs: B", "b.rs -> a.rs: A"],
    },
    Case {
        about: "paths from the parent",
        files: &[
            ("lib.rs", "mod m;"),
            ("m.rs", "mod a; mod b;"),
            ("m/a.rs", "use super::b::B; pub struct A(B);"),
            ("m/b.rs", "use super::super::m::a::A; pub struct B(Box<A>);"),
        ],
        arrows: &["m/a.rs -> m/b.rs: B", "m/b.rs -> m/a.rs: A"],
    },
    Case {
        about: "paths from the module itself",
        files: &[
            ("lib.rs", "mod m;"),
            ("m/mod.rs", "mod a; use self::a::A; pub struct M(A);"),
            ("m/a.rs", "use crate::m::M; pub struct A(Box<M>);"),
        ],
        arrows: &["m/a.rs -> m/mod.rs: M", "m/mod.rs -> m/a.rs: A"],
    },
    Case {
        about: "plain paths to a child and to a sibling that was imported",
        files: &[
            ("lib.rs", "mod m; mod b;"),
            (
                "m.rs",
                "mod a; use a::A; use crate::b; use b::B; pub struct M(A, B);",
            ),
            ("m/a.rs", "pub struct A;"),
            ("b.rs", "use crate::m::M; pub struct B(Box<M>);"),
        ],
        arrows: &["b.rs -> m.rs: M", "m.rs -> b.rs: B"],
    },
    Case {
        about: "groups, also with `self`",
        files: &[
            ("lib.rs", "mod a; mod b; mod c;"),
            (
                "a.rs",
                "use crate::{b::{self, B}, c::C}; fn f() { b::g(); } struct A(B, C);",
            ),
            (
                "b.rs",
                "use crate::{a::{A}}; pub struct B(A); pub fn g() {}",
            ),
            ("c.rs", "pub struct C;"),
        ],
        arrows: &["a.rs -> b.rs: B, g", "b.rs -> a.rs: A"],
    },
    Case {
        about: "renamed imports",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b as other; pub struct A(other::B);"),
            (
                "b.rs",
                "use crate::a::A as Other; pub struct B(Box<Other>);",
            ),
        ],
        arrows: &["a.rs -> b.rs: B", "b.rs -> a.rs: A"],
    },
    Case {
        about: "globs",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::*; pub struct A(B);"),
            ("b.rs", "use crate::a::*; pub struct B(Box<A>);"),
        ],
        arrows: &["a.rs -> b.rs: *, B", "b.rs -> a.rs: *, A"],
    },
    Case {
        about: "a glob of names that another module passes on",
        files: &[
            ("lib.rs", "mod a; mod b; mod prelude;"),
            ("prelude.rs", "pub use crate::b::*;"),
            ("a.rs", "use crate::prelude::*; pub struct A(B);"),
            ("b.rs", "use crate::a::A; pub struct B(Box<A>);"),
        ],
        arrows: &[
            "a.rs -> b.rs: B",
            "b.rs -> a.rs: A",
            "a.rs -> prelude.rs: *",
            "prelude.rs -> b.rs: *",
            "b.rs -> a.rs: A",
        ],
    },
    Case {
        about: "a name that lib.rs passes on",
        files: &[
            (
                "lib.rs",
                "mod a; mod b; pub use a::A; pub use b::{B as Renamed};",
            ),
            ("a.rs", "use crate::Renamed; pub struct A(Renamed);"),
            ("b.rs", "use crate::A; pub struct B(Box<A>);"),
        ],
        arrows: &["a.rs -> b.rs: B", "b.rs -> a.rs: A"],
    },
    Case {
        about: "a name that a mod.rs passes on",
        files: &[
            ("lib.rs", "mod m; mod c;"),
            ("m/mod.rs", "mod a; pub(crate) use a::A;"),
            ("m/a.rs", "use crate::c::C; pub struct A(C);"),
            ("c.rs", "use crate::m::A; pub struct C(Box<A>);"),
        ],
        arrows: &["c.rs -> m/a.rs: A", "m/a.rs -> c.rs: C"],
    },
    Case {
        about: "a name that is passed on twice",
        files: &[
            ("lib.rs", "mod m; mod c; pub use m::*;"),
            ("m/mod.rs", "mod a; pub(crate) use a::A;"),
            ("m/a.rs", "pub struct A(crate::c::C);"),
            ("c.rs", "pub struct C(Box<crate::A>);"),
        ],
        arrows: &["c.rs -> m/a.rs: A", "m/a.rs -> c.rs: C"],
    },
    Case {
        about: "paths in code, without any import",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub fn f() -> crate::b::B { crate::b::B::new() }"),
            (
                "b.rs",
                "pub struct B; impl B { pub fn new() -> Self { super::a::f() } }",
            ),
        ],
        arrows: &["a.rs -> b.rs: B", "b.rs -> a.rs: f"],
    },
    Case {
        about: "paths in macros",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "pub fn f() -> String { format!(\"{}\", x.g(0..crate::b::g(1))) }",
            ),
            (
                "b.rs",
                "macro_rules! g { () => { $crate::a::f() }; } pub fn g(_: u8) -> u8 { 1 }",
            ),
        ],
        arrows: &["a.rs -> b.rs: g", "b.rs -> a.rs: f"],
    },
    Case {
        about: "macros by name",
        files: &[
            ("lib.rs", "#[macro_use] mod a; mod b;"),
            (
                "a.rs",
                "macro_rules! both { () => {}; } pub fn f() { super::b::g(); }",
            ),
            ("b.rs", "both!(); pub fn g() { crate::a::f() }"),
        ],
        arrows: &["a.rs -> b.rs: g", "b.rs -> a.rs: both, f"],
    },
    Case {
        about: "paths in attributes",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "pub struct A { #[serde(with = \"crate::b\", default = \"crate::b::f\")] x: u8 }",
            ),
            (
                "b.rs",
                "#[arg(value_parser = super::a::A::parse)] pub struct B; pub fn f() {}",
            ),
        ],
        arrows: &["a.rs -> b.rs: f", "b.rs -> a.rs: A"],
    },
    Case {
        about: "parent and child",
        files: &[
            ("lib.rs", "mod p;"),
            ("p.rs", "mod child; pub struct P; fn f() { child::g(); }"),
            ("p/child.rs", "use super::P; pub fn g() -> P { P }"),
        ],
        arrows: &["p.rs -> p/child.rs: g", "p/child.rs -> p.rs: P"],
    },
    Case {
        about: "lib.rs, which passes a child on and holds what the child needs",
        files: &[
            ("lib.rs", "mod a; pub use a::A; pub struct Error;"),
            ("a.rs", "pub struct A(crate::Error);"),
        ],
        arrows: &["a.rs -> lib.rs: Error", "lib.rs -> a.rs: A"],
    },
    Case {
        about: "inline modules and modules with a path",
        files: &[
            (
                "lib.rs",
                "#[path = \"other/file.rs\"] mod a; mod m { pub mod b; pub use b::B; }",
            ),
            ("other/file.rs", "pub struct A(crate::m::B);"),
            ("m/b.rs", "use super::super::a::A; pub struct B(Box<A>);"),
        ],
        arrows: &["m/b.rs -> other/file.rs: A", "other/file.rs -> m/b.rs: B"],
    },
    Case {
        about: "imports in a function and in an inline module",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A; fn f() { use crate::b::g; g(); }"),
            (
                "b.rs",
                "mod inner { use super::super::a::A; fn h(_: A) {} } pub fn g() {}",
            ),
        ],
        arrows: &["a.rs -> b.rs: g", "b.rs -> a.rs: A"],
    },
    Case {
        about: "three files",
        files: &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "use crate::c::C; pub struct B(C);"),
            ("c.rs", "use crate::a::A; pub struct C(Box<A>);"),
        ],
        arrows: &["a.rs -> b.rs: B", "b.rs -> c.rs: C", "c.rs -> a.rs: A"],
    },
    Case {
        about: "no circle: one direction, in every way of writing it",
        files: &[
            (
                "lib.rs",
                "mod a; mod b; mod c; pub use a::{A, f}; pub use c::*; pub fn g() { b::h(); }",
            ),
            (
                "a.rs",
                "//! [`crate::b::B`]\npub struct A; pub(in crate::a) fn f() {}",
            ),
            (
                "b.rs",
                "use crate::A; use super::c::{self, C}; pub struct B(A, C); fn h() { c::i() }",
            ),
            (
                "c.rs",
                "use crate::a; pub struct C(a::A); pub fn i() { http::f(); } use ::b::B as D;",
            ),
        ],
        arrows: &[],
    },
    Case {
        about: "no circle: a parent that declares a child, which uses the parent",
        files: &[
            ("lib.rs", "mod p;"),
            ("p.rs", "mod child; pub struct P;"),
            ("p/child.rs", "use super::P; pub fn g() -> P { P }"),
        ],
        arrows: &[],
    },
    Case {
        about: "no circle: a function with the name of the module behind it",
        files: &[
            ("lib.rs", "mod p;"),
            ("p.rs", "mod charge; mod child; fn charge() { child::g(); }"),
            ("p/charge.rs", "pub struct C;"),
            ("p/child.rs", "use super::charge::C; pub fn g() -> C { C }"),
        ],
        arrows: &[],
    },
    Case {
        about: "no circle: only in tests",
        files: &[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
            (
                "a.rs",
                "use crate::b::B; pub struct A(B); #[cfg(all(test, unix))] mod tests \
                 { use crate::c; }",
            ),
            (
                "b.rs",
                "#[cfg(test)] use crate::a::A; pub struct B; impl B \
                 { #[cfg(test)] fn f() -> crate::a::A {} }\n\
                 #[cfg(test)] mod tests { use super::super::a::A; }",
            ),
        ],
        arrows: &[],
    },
    Case {
        about: "a circle that a condition about tests does not hide",
        files: &[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "#[cfg(not(test))] use crate::b::B; pub struct A(B);",
            ),
            (
                "b.rs",
                "#[cfg(any(test, unix))] use crate::a::A; pub struct B(Box<A>);",
            ),
        ],
        arrows: &["a.rs -> b.rs: B", "b.rs -> a.rs: A"],
    },
];

#[test]
fn each_planted_circle_is_found_with_its_names() {
    let found: Vec<(&str, Vec<String>)> = CASES
        .iter()
        .map(|case| {
            let read = |path: &str| {
                let mut files = case.files.iter();
                let (_, text) = files.find(|(file, _)| *file == path)?;
                Some((*text).to_owned())
            };
            let circles = circles_of("lib.rs", &read);
            let arrows = circles.iter().flat_map(|circle| lines(circle));
            (case.about, arrows.collect())
        })
        .collect();
    let planted: Vec<(&str, Vec<String>)> = CASES
        .iter()
        .map(|case| {
            let arrows = case.arrows.iter().map(|arrow| (*arrow).to_owned());
            (case.about, arrows.collect())
        })
        .collect();
    assert_eq!(found, planted);
}
