//! The map in ARCHITECTURE.md: every path in its second column exists, and every workspace member
//! is in it.

use std::path::Path;

use crate::workspace;

/// The paths in the rows of the map, in order.
fn paths(text: &str) -> Vec<&str> {
    let (_, map) = text
        .split_once("## The map\n")
        .expect("ARCHITECTURE.md has no heading `The map`");
    map.lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(2))
        // Text outside backticks is prose, such as a package name in parentheses.
        .map(|places| places.split('(').next().unwrap_or(places))
        .flat_map(|places| places.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_place_on_the_map_exists() {
    let text = workspace::read("ARCHITECTURE.md").unwrap();
    let paths = paths(&text);
    assert!(paths.len() > 30, "the map has too few places: {paths:?}");
    let lost: Vec<&str> = paths
        .into_iter()
        .filter(|path| !Path::new(&workspace::checkout()).join(path).exists())
        .collect();
    assert_eq!(
        lost,
        Vec::<&str>::new(),
        "ARCHITECTURE.md names places that do not exist"
    );
}

#[test]
fn every_package_is_on_the_map() {
    let text = workspace::read("ARCHITECTURE.md").unwrap();
    let paths = paths(&text);
    let missing: Vec<String> = workspace::targets()
        .into_iter()
        .map(|target| target.package)
        .filter(|folder| {
            !paths
                .iter()
                .any(|path| path == folder || path.starts_with(&format!("{folder}/")))
        })
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "packages that are missing on the map of ARCHITECTURE.md"
    );
}

#[test]
fn a_row_can_name_several_places() {
    let text = "# A\n## The map\n| part | place | I/O |\n|---|---|---|\n\
                | a `word` | `a/b` (`package`) | none |\n| c | `c.rs`, `d/` | `e` |\n## Next\n| f \
                | `g` |\n";
    assert_eq!(paths(text), ["a/b", "c.rs", "d/"]);
}
