//! What the compiler counted, read with the LLVM tools of that very compiler.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Makes one file of the counts in some folders, in the first of them. Its name tells its content, because cargo builds again
/// only for another name.
pub(crate) fn merge(folders: &[impl AsRef<Path>]) -> PathBuf {
    let first = folders[0].as_ref();
    let merged = first.with_extension("profdata");
    let mut arguments = vec![Path::new("merge"), Path::new("--output"), &merged];
    arguments.extend(folders.iter().map(AsRef::as_ref));
    run("llvm-profdata", &arguments);
    let digest = Sha256::digest(std::fs::read(&merged).unwrap());
    let start = digest[..8].try_into().expect("a digest has 32 bytes");
    let name = format!("{:016x}", u64::from_be_bytes(start));
    let named = merged.with_file_name(format!("{name}.profdata"));
    std::fs::rename(&merged, &named).unwrap();
    named
}

/// The functions that were counted, and whether any part of them ran.
pub(crate) fn functions(profile: &Path) -> HashMap<String, bool> {
    let arguments = ["show", "--all-functions", "--counts"].map(Path::new);
    let text = run("llvm-profdata", &[&arguments[..], &[profile]].concat());
    let mut functions = HashMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(counts) = line.strip_prefix("    Block counts: ") {
            let ran = counts.contains(|digit| ('1'..='9').contains(&digit));
            *functions.entry(name.to_owned()).or_default() |= ran;
        } else if let Some(named) = line
            .strip_prefix("  ")
            .and_then(|line| line.strip_suffix(':'))
        {
            // One that is known only within its unit stands behind the unit's name.
            name = named.rsplit(';').next().unwrap_or(named);
        }
    }
    assert!(
        !functions.is_empty(),
        "llvm-profdata shows no function:\n{text}"
    );
    functions
}

/// The functions that object files define, in their order.
pub(crate) fn defined(objects: &[&Path]) -> Vec<String> {
    let arguments = ["--defined-only", "--no-sort", "--format=posix"].map(Path::new);
    let text = run("llvm-nm", &[&arguments[..], objects].concat());
    text.lines()
        .filter_map(|line| line.split_once(' '))
        // Code, weak or not, known outside or not.
        .filter(|(_, kind)| kind.starts_with(['t', 'T', 'w', 'W']))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn run(tool: &str, arguments: &[&Path]) -> String {
    let path = tools().join(tool);
    assert!(
        path.is_file(),
        "{} is missing: `rustup component add llvm-tools`",
        path.display()
    );
    let output = Command::new(path).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{tool}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Where the compiler keeps its tools.
pub(crate) fn tools() -> PathBuf {
    let said = |argument: &[&str]| {
        let output = Command::new("rustc").args(argument).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let version = said(&["-vV"]);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    Path::new(said(&["--print", "sysroot"]).trim())
        .join("lib/rustlib")
        .join(host)
        .join("bin")
}
