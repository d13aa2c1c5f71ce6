//! What may be published: one package, which depends on nothing that is not.

use serde_json::Value;

use crate::workspace;

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

#[test]
fn only_the_library_for_workers_is_published_and_its_dependencies_have_versions() {
    let packages = workspace::packages();
    // `null` allows every registry, an empty list none.
    let published: Vec<&Value> = packages.iter().filter(|p| p["publish"].is_null()).collect();
    let names: Vec<&str> = published.iter().map(|package| name(package)).collect();
    assert_eq!(names, ["taskqueue-worker"]);
    let is_private = |dependency: &Value| {
        let own = packages
            .iter()
            .any(|package| name(package) == name(dependency));
        own && !names.contains(&name(dependency))
    };
    for package in published {
        let all = package["dependencies"].as_array().unwrap().iter();
        // Cargo leaves development dependencies without a version out of the package.
        let wrong: Vec<&str> = all
            .filter(|dependency| dependency["kind"] != "dev")
            .filter(|dependency| dependency["req"] == "*" || is_private(dependency))
            .map(name)
            .collect();
        assert_eq!(wrong, Vec::<&str>::new(), "{}", name(package));
    }
}
