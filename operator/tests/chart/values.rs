//! Parses the documentation in `values.yaml` (sections, values, defaults and descriptions), and
//! makes the README's table from it. No I/O.

use std::fmt::Write as _;

use serde_json::Value;

use crate::objects::yaml;

/// One documented value.
#[derive(Debug)]
pub(crate) struct Documented {
    /// The heading of the section that contains it.
    pub(crate) section: String,
    /// Path from the root, such as `["image", "tag"]`.
    pub(crate) path: Vec<String>,
    /// The text of the comment.
    pub(crate) description: String,
}

impl Documented {
    /// The path as written after `--set`.
    pub(crate) fn name(&self) -> String {
        self.path.join(".")
    }
}

/// The documented values, in the order of the file.
pub(crate) fn documented(source: &str) -> Vec<Documented> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut description: Option<String> = None;
    for line in source.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(title) = content.strip_prefix("## ") {
            title.clone_into(&mut section);
        } else if let Some(start) = content.strip_prefix("# -- ") {
            description = Some(start.to_owned());
        } else if let Some(more) = content.strip_prefix("# ") {
            if let Some(text) = &mut description {
                text.push(' ');
                text.push_str(more);
            }
        } else if let Some(key) = key(content) {
            parents.retain(|(depth, _)| *depth < indent);
            parents.push((indent, key.to_owned()));
            if let Some(description) = description.take() {
                found.push(Documented {
                    section: section.clone(),
                    path: parents.iter().map(|(_, key)| key.clone()).collect(),
                    description,
                });
            }
        }
    }
    found
}

/// The key of a line `key: …`; `None` for list items.
fn key(content: &str) -> Option<&str> {
    let (key, rest) = content.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!key.is_empty()
        && !content.starts_with('-')
        && key.chars().all(plain)
        && (rest.is_empty() || rest.starts_with(' ')))
    .then_some(key)
}

/// The value at a path.
pub(crate) fn at<'a>(values: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(values, |value, key| value.get(key))
}

/// The values without the one at a path.
pub(crate) fn without(values: &Value, path: &[String]) -> Value {
    let mut copy = values.clone();
    if let [parents @ .., last] = path
        && let Some(parent) = parents
            .iter()
            .try_fold(&mut copy, |value, key| value.get_mut(key))
        && let Some(fields) = parent.as_object_mut()
    {
        fields.remove(last);
    }
    copy
}

/// The paths of all values that are not maps with keys, or that are documented as a whole.
pub(crate) fn leaves(values: &Value, documented: &[Documented]) -> Vec<Vec<String>> {
    fn walk(value: &Value, path: &[String], documented: &[Documented], out: &mut Vec<Vec<String>>) {
        let whole = documented.iter().any(|entry| entry.path == path);
        match value.as_object() {
            Some(fields) if !whole && !fields.is_empty() => {
                for (key, value) in fields {
                    walk(
                        value,
                        &[path, std::slice::from_ref(key)].concat(),
                        documented,
                        out,
                    );
                }
            }
            _ => out.push(path.to_vec()),
        }
    }
    let mut out = Vec::new();
    walk(values, &[], documented, &mut out);
    out
}

/// The tables for the README, one per section.
pub(crate) fn tables(source: &str) -> String {
    let values = yaml(source);
    let mut out = String::new();
    let mut section = "";
    let documented = documented(source);
    for entry in &documented {
        if entry.section != section {
            section = &entry.section;
            write!(
                out,
                "\n### {section}\n\n| value | default | meaning |\n|---|---|---|\n"
            )
            .expect("a string takes everything");
        }
        let default = at(&values, &entry.path).unwrap_or(&Value::Null);
        writeln!(
            out,
            "| `{}` | `{default}` | {} |",
            entry.name(),
            entry.description.replace('|', "\\|")
        )
        .expect("a string takes everything");
    }
    out
}
