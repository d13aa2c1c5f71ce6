//! Line width: no line of Rust is longer than rustfmt's `max_width`, in strings and comments too,
//! which rustfmt leaves alone. A line may be longer only if one of its words does not fit on a line
//! of its own.

use std::fs;
use std::path::Path;

use crate::workspace;

/// `max_width` of rustfmt.toml, in characters.
const MAX_WIDTH: usize = 100;
/// How much deeper the next line of an expression or a string is indented.
const INDENT: usize = 4;

/// The numbers of the lines that are too long and can be broken.
fn too_long(text: &str) -> Vec<usize> {
    let is_too_long = |line: &str| {
        let indentation = line.chars().take_while(|c| c.is_whitespace()).count();
        let words = line.split_whitespace().map(|word| word.chars().count());
        let longest = words.max().unwrap_or(0);
        line.chars().count() > MAX_WIDTH && indentation + INDENT + longest <= MAX_WIDTH
    };
    let numbered = (1..).zip(text.lines());
    numbered
        .filter(|(_, line)| is_too_long(line))
        .map(|(number, _)| number)
        .collect()
}

/// Calls `visit` with each Rust file below a folder of the repository, and with its text.
fn visit_sources(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            visit_sources(&path, visit);
        } else if path.is_file() && is_source {
            visit(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn no_line_is_longer_than_the_line_width() {
    let checkout = workspace::checkout();
    let (mut files, mut found) = (0, Vec::new());
    visit_sources(Path::new(&checkout), &mut |path, text| {
        files += 1;
        let path = path.strip_prefix(&checkout).unwrap().display();
        found.extend(too_long(text).iter().map(|line| format!("{path}:{line}")));
    });
    assert!(files > 300, "only {files} files were read");
    assert!(
        found.is_empty(),
        "these lines are longer than {MAX_WIDTH} characters; break them between two words (in a \
         string with a backslash):\n{}",
        found.join("\n")
    );
}

#[test]
fn a_line_may_be_longer_only_if_it_cannot_be_broken() {
    let word = "x".repeat(96);
    let text = format!("{word} abc\n{word} abcd\nx{word} abcd\n    {word} abcd\n");
    assert_eq!(too_long(&text), [2]);
    // Characters count, not bytes.
    assert_eq!(too_long(&"→ ".repeat(50)), Vec::<usize>::new());
    assert_eq!(too_long(&"→ ".repeat(51)), [1]);
}
