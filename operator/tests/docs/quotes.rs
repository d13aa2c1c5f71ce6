//! Code in the book, against the files that it is quoted from, which the compiler has accepted.

use std::path::Path;

use crate::links::Repository;
use crate::words::quoted;
use crate::{read, root};

/// The blocks of a page that are fenced as Rust.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    let after_fences = page.split("```rust\n").skip(1);
    after_fences.filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block))
}

/// The blocks of a page that none of the files contains.
fn strangers<'a>(page: &'a str, files: &[String]) -> Vec<&'a str> {
    let known = |block: &&str| files.iter().any(|file| file.contains(*block));
    blocks(page).filter(|block| !known(block)).collect()
}

#[test]
fn every_block_of_rust_in_the_book_is_part_of_a_file_that_its_page_names() {
    let mut lost = Vec::new();
    let mut checked = 0;
    for (path, page) in &Repository::read(&root()).documents {
        if !path.starts_with("docs/") {
            continue;
        }
        let named = quoted(page).filter(|word| Path::new(word).extension() == Some("rs".as_ref()));
        let files: Vec<String> = named
            .filter(|word| root().join(word).is_file())
            .map(read)
            .collect();
        checked += blocks(page).count();
        let strange = strangers(page, &files).into_iter();
        lost.extend(strange.map(|block| format!("{path}: {block}")));
    }
    assert_eq!(lost, Vec::<String>::new());
    assert!(checked > 0, "no page has a block of Rust any more");
}

#[test]
fn a_block_that_is_not_in_the_file_is_found() {
    let page =
        "Text.\n\n```rust\nfn a() {}\n```\n\n```yaml\na: 1\n```\n\n```rust\nfn b() {}\n```\n";
    let file = "//! A file.\n\nfn a() {}\n".to_owned();
    assert_eq!(strangers(page, &[file]), ["fn b() {}"]);
    assert_eq!(strangers(page, &[]), ["fn a() {}", "fn b() {}"]);
}
