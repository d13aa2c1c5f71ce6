//! Releases of the chart side by side: in another namespace. Runs `helm`.

use crate::helm::{chart, template, value_sets};

#[test]
fn the_namespace_override_is_to_every_object_what_the_namespace_of_the_release_is() {
    for (name, values) in value_sets() {
        // The templates of these objects are the user's.
        let same = [
            "--values",
            &*values.to_string_lossy(),
            "--set",
            "extraObjects=null",
        ];
        let [overridden, moved] = [
            ["--set", "namespaceOverride=elsewhere"],
            ["--namespace=elsewhere", "--set=namespaceOverride="],
        ]
        .map(|arguments| template(&chart(), &[&same[..], &arguments].concat()));
        assert_eq!(overridden, moved, "{name}");
    }
}
