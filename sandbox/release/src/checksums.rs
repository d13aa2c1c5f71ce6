//! SHA256SUMS, as `sha256sum --check` reads it. Reads every file of a folder.

use std::{collections::BTreeMap, fs, io::Read as _, path::Path};

use sandbox_machine::{Attempt, Error, Result, files};
use sha2::{Digest, Sha256};

use crate::folder::CHECKSUMS;

/// The SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let what = || format!("reading {}", file.display());
    let mut content = fs::File::open(file).attempt(what)?;
    let mut hasher = Sha256::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match content.read(&mut part).attempt(what)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&part[..read]),
        }
    }
}

/// Writes the checksums of all files of the folder.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let sums = present(folder)?;
    let lines: Vec<String> = sums
        .iter()
        .map(|(name, sum)| format!("{sum}  {name}"))
        .collect();
    let text = lines.join("\n") + "\n";
    files::write_file(&folder.join(CHECKSUMS), text.as_bytes())
}

/// An error that names the files which are not what the checksums say, are missing, or have no
/// checksum. Returns the number of files.
pub(crate) fn verify(folder: &Path) -> Result<usize> {
    let file = folder.join(CHECKSUMS);
    let text = fs::read_to_string(&file).attempt(|| format!("reading {}", file.display()))?;
    let present = present(folder)?;
    let wrong = differences(&parse(&text)?, &present);
    if wrong.is_empty() {
        return Ok(present.len());
    }
    Err(Error::source(file.display().to_string(), wrong.join("; ")))
}

fn present(folder: &Path) -> Result<BTreeMap<String, String>> {
    let what = || format!("reading {}", folder.display());
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(folder).attempt(what)? {
        let path = entry.attempt(what)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name != CHECKSUMS {
            sums.insert(name.into_owned(), sha256(&path)?);
        }
    }
    Ok(sums)
}

fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    text.lines()
        .map(|line| {
            let (sum, name) = line.split_once("  ").ok_or_else(|| {
                Error::source(CHECKSUMS, format!("{line:?} is no checksum and name"))
            })?;
            Ok((name.to_owned(), sum.to_owned()))
        })
        .collect()
}

fn differences(
    recorded: &BTreeMap<String, String>,
    present: &BTreeMap<String, String>,
) -> Vec<String> {
    let missing = recorded
        .keys()
        .filter(|name| !present.contains_key(*name))
        .map(|name| format!("{name} is missing"));
    let others = present
        .iter()
        .filter_map(|(name, sum)| match recorded.get(name) {
            None => Some(format!("{name} has no checksum")),
            Some(expected) if expected != sum => {
                Some(format!("the content of {name} does not match its checksum"))
            }
            Some(_) => None,
        });
    missing.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_a_missing_and_an_added_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            fs::write(at(name), name).unwrap();
        }
        write(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(at(CHECKSUMS)).unwrap().lines().next(),
            Some("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a")
        );
        assert_eq!(verify(folder.path()).unwrap(), 3);
        fs::write(at("a"), "changed").unwrap();
        fs::remove_file(at("b")).unwrap();
        fs::write(at("d"), "").unwrap();
        let error = verify(folder.path()).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "b is missing; the content of a does not match its checksum; d has no checksum"
            ),
            "{error}"
        );
    }
}
