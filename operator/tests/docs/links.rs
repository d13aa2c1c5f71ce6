//! Links between the Markdown files of the repository, and the summary of the book.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::root;

/// The folder of the book; its pages link only to each other.
const BOOK: &str = "docs/";
const SUMMARY: &str = "docs/SUMMARY.md";

/// The Markdown files, and a way to ask for any other file or folder. Paths start at the root.
pub(crate) struct Repository {
    pub(crate) documents: BTreeMap<String, String>,
    exists: Box<dyn Fn(&str) -> bool>,
}

impl Repository {
    /// Reads every Markdown file below `root` except build output and hidden folders.
    pub(crate) fn read(root: &Path) -> Self {
        let mut documents = BTreeMap::new();
        collect(root, "", &mut documents);
        let root = root.to_owned();
        Self {
            documents,
            exists: Box::new(move |path| root.join(path).exists()),
        }
    }

    /// The relative links that lead nowhere, and those that leave the book from one of its pages.
    fn dead_links(&self) -> Vec<String> {
        let anchors: BTreeMap<&str, BTreeSet<String>> = self
            .documents
            .iter()
            .map(|(path, text)| (path.as_str(), anchors(text)))
            .collect();
        let mut dead = Vec::new();
        for (path, text) in &self.documents {
            for link in links(text) {
                let (file, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
                let target = if file.is_empty() {
                    Some(path.clone())
                } else {
                    resolve(path, file)
                };
                let problem = match target {
                    None => Some("leaves the repository"),
                    Some(target) if !(self.exists)(&target) => Some("no such file"),
                    Some(target) if path.starts_with(BOOK) && !target.starts_with(BOOK) => {
                        Some("leaves the book")
                    }
                    Some(target) if !anchor.is_empty() => {
                        let known = anchors.get(target.as_str());
                        let known = known.is_some_and(|known| known.contains(anchor));
                        (!known).then_some("no such heading")
                    }
                    Some(_) => None,
                };
                dead.extend(problem.map(|problem| format!("{path}: {link}: {problem}")));
            }
        }
        dead
    }

    /// Pages that the summary does not list, and its entries that are no page or occur twice.
    fn summary_differences(&self) -> Vec<String> {
        let pages = self.documents.keys();
        let mut missing: BTreeSet<String> = pages
            .filter(|path| path.starts_with(BOOK) && *path != SUMMARY)
            .cloned()
            .collect();
        let mut wrong = Vec::new();
        for link in links(&self.documents[SUMMARY]) {
            let page = resolve(SUMMARY, &link).unwrap_or_default();
            if !missing.remove(&page) {
                wrong.push(format!("{SUMMARY}: {link}: no such page, or listed twice"));
            }
        }
        let missing = missing
            .into_iter()
            .map(|page| format!("{page}: not in {SUMMARY}"));
        missing.chain(wrong).collect()
    }
    /// The pages of the book that no chain of links from the README reaches. The summary does not
    /// count: nobody should have to look a page up there.
    fn unreachable(&self) -> Vec<&str> {
        let mut reached = BTreeSet::new();
        let mut next = vec!["README.md".to_owned()];
        while let Some(page) = next.pop() {
            let text = self.documents.get(&page).filter(|_| page != SUMMARY);
            let targets = text.into_iter().flat_map(|text| links(text));
            next.extend(targets.filter_map(|link| {
                let (file, _) = link.split_once('#').unwrap_or((link.as_str(), ""));
                let target = resolve(&page, file)?;
                (target.starts_with(BOOK) && reached.insert(target.clone())).then_some(target)
            }));
        }
        let pages = self.documents.keys().map(String::as_str);
        let pages = pages.filter(|page| page.starts_with(BOOK) && *page != SUMMARY);
        pages.filter(|page| !reached.contains(*page)).collect()
    }
}

fn collect(folder: &Path, prefix: &str, documents: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            let made = ["target", "node_modules"].contains(&name.as_str());
            if !made && !name.starts_with('.') {
                collect(&entry.path(), &format!("{path}/"), documents);
            }
        } else if kind.is_file() && Path::new(&name).extension().is_some_and(|end| end == "md") {
            let text = fs::read_to_string(entry.path()).unwrap();
            documents.insert(path, text);
        }
    }
}

/// The path of a link's file from the root; `None` if it leaves the repository.
fn resolve(from: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    (!file.starts_with('/')).then(|| parts.join("/"))
}

/// The lines of a text outside fenced code.
fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The relative targets of links and images, without those in code.
fn links(text: &str) -> Vec<String> {
    let prose: Vec<&str> = outside_fences(text).collect();
    // A code span may continue on the next line, but not in the next paragraph.
    let paragraphs = prose.split(|line| line.trim().is_empty());
    let mut links = Vec::new();
    for paragraph in paragraphs {
        let joined = paragraph.join("\n");
        let plain: String = joined.split('`').step_by(2).collect();
        let inline = plain.split("](").skip(1).filter_map(|rest| {
            let (target, _) = rest.split_once(')')?;
            target.split_whitespace().next()
        });
        let defined = plain.lines().filter_map(|line| {
            let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
            (!name.starts_with('^')).then_some(target.trim())
        });
        let relative = |target: &&str| !target.contains("://") && !target.starts_with("mailto:");
        links.extend(inline.chain(defined).filter(relative).map(str::to_owned));
    }
    links
}

/// The anchors of the headings, as forges and mdBook make them: a repeated one gets a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    let titles = outside_fences(text).filter(|line| line.starts_with('#'));
    titles
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            let anchor: String = kept.collect();
            let before = times.entry(anchor.clone()).or_default();
            *before += 1;
            match *before {
                1 => anchor,
                more => format!("{anchor}-{}", more - 1),
            }
        })
        .collect()
}

#[test]
fn every_link_has_a_target() {
    let dead = Repository::read(&root()).dead_links();
    assert_eq!(dead, Vec::<String>::new());
}

#[test]
fn the_summary_lists_the_pages_of_the_book() {
    let differences = Repository::read(&root()).summary_differences();
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn every_page_of_the_book_is_reached_by_links_from_the_readme() {
    let repository = Repository::read(&root());
    assert_eq!(repository.unreachable(), Vec::<&str>::new());
}

/// A small book; a test adds to its page or to its summary.
fn book(page: &str, summary: &str) -> Repository {
    let documents = [
        ("README.md", "# Name\n\n## Two words\n".to_owned()),
        (
            "docs/SUMMARY.md",
            format!("# Summary\n\n- [A](a.md)\n{summary}"),
        ),
        (
            "docs/a.md",
            format!("# A\n\n## Twice\n\n## Twice\n\n{page}\n"),
        ),
        ("docs/more/b.md", "# B\n".to_owned()),
    ];
    let documents: BTreeMap<String, String> =
        documents.map(|(path, text)| (path.to_owned(), text)).into();
    let known: BTreeSet<String> = documents.keys().cloned().collect();
    Repository {
        documents,
        exists: Box::new(move |path| known.contains(path) || path == "docs/picture.svg"),
    }
}

#[test]
fn a_dead_link_is_found() {
    let dead = |page: &str| book(page, "").dead_links();
    let good = "[b](more/b.md) ![p](picture.svg) [t](#twice-1) [out](https://example.com/x.md#y)";
    assert_eq!(dead(good), Vec::<String>::new());
    assert_eq!(
        dead("`[b](gone.md)`\n\n```\n[b](gone.md)\n```"),
        Vec::<String>::new()
    );
    assert_eq!(dead("[b](gone.md)"), ["docs/a.md: gone.md: no such file"]);
    assert_eq!(
        dead("[b](more/b.md#c)"),
        ["docs/a.md: more/b.md#c: no such heading"]
    );
    assert_eq!(
        dead("[t](#twice-2)"),
        ["docs/a.md: #twice-2: no such heading"]
    );
    assert_eq!(
        dead("[p](picture.svg#x)"),
        ["docs/a.md: picture.svg#x: no such heading"]
    );
    assert_eq!(
        dead("[r](../README.md)"),
        ["docs/a.md: ../README.md: leaves the book"]
    );
    assert_eq!(
        dead("[r](../../README.md)"),
        ["docs/a.md: ../../README.md: leaves the repository"]
    );
    assert_eq!(
        dead("[b]\n\n[b]: gone.md"),
        ["docs/a.md: gone.md: no such file"]
    );
}

#[test]
fn a_page_that_only_the_summary_lists_is_found() {
    let unreachable = |page: &str, readme: &str| {
        let mut book = book(page, "- [B](more/b.md)\n");
        let all = book.documents.get_mut("README.md").unwrap();
        all.push_str("[contents](docs/SUMMARY.md)\n");
        all.push_str(readme);
        book.unreachable().join(", ")
    };
    assert_eq!(unreachable("", ""), "docs/a.md, docs/more/b.md");
    assert_eq!(unreachable("", "[a](docs/a.md#twice)"), "docs/more/b.md");
    assert_eq!(unreachable("[b](more/b.md)", "[a](docs/a.md)"), "");
}

#[test]
fn a_wrong_summary_is_found() {
    let differences = |summary: &str| book("", summary).summary_differences();
    assert_eq!(differences("- [B](more/b.md)\n"), Vec::<String>::new());
    assert_eq!(differences(""), ["docs/more/b.md: not in docs/SUMMARY.md"]);
    assert_eq!(
        differences("- [B](more/b.md)\n- [C](c.md)\n"),
        ["docs/SUMMARY.md: c.md: no such page, or listed twice"]
    );
    assert_eq!(
        differences("- [B](more/b.md)\n- [A](a.md)\n"),
        ["docs/SUMMARY.md: a.md: no such page, or listed twice"]
    );
}
