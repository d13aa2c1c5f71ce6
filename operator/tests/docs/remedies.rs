//! The options that remedies name, against the workers of this repository, whose sources the SDKs
//! accept.

use taskqueue_api::worker_fault::{ALL, remedy};

use crate::read;

/// An SDK as the remedies call it, and the sources of a worker that sets its options.
const WORKERS: [(&str, &[&str]); 5] = [
    ("Go", &["examples/workers/go/main.go"]),
    ("Python", &["examples/workers/python/worker.py"]),
    ("TypeScript", &["examples/workers/typescript/src/worker.ts"]),
    (
        "Java",
        &["examples/workers/java/src/main/java/greeting/Main.java"],
    ),
    (
        "Rust",
        &[
            "worker/library/src/options.rs",
            "worker/library/src/compat/generation.rs",
        ],
    ),
];

fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// The option that a remedy names for an SDK, if it does.
fn option<'a>(remedy: &'a str, sdk: &str) -> Option<&'a str> {
    let (_, options) = remedy.rsplit_once(": ")?;
    let named = |option: &'a str| option.strip_prefix(sdk)?.strip_prefix(' ');
    words(options.split(", ").find_map(named)?).next_back()
}

#[test]
fn every_option_that_a_remedy_names_is_one_of_the_sdk() {
    let mut checked = 0;
    for fault in ALL {
        let remedy = remedy(fault).unwrap();
        for (sdk, sources) in WORKERS {
            let Some(option) = option(remedy, sdk) else {
                continue;
            };
            let sets = |file: &&str| words(&read(file)).any(|word| word == option);
            assert!(
                sources.iter().any(sets),
                "{fault}: no worker for {sdk} sets {option} ({})",
                sources.join(", ")
            );
            checked += 1;
        }
    }
    assert_eq!(
        checked, 15,
        "three faults have an option in each of five SDKs"
    );
}
