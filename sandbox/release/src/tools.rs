//! The tools for cargo that a release needs, pinned and built once. Starts cargo; writes to the
//! cache folder.

use std::{ffi::OsString, path::PathBuf};

use sandbox_machine::{Error, Paths, Progress, Result, cargo, files, run};

/// Name, version and features of each tool.
const TOOLS: [(&str, &str, &str); 3] = [
    // Writes the list of crates into a binary, where scanners read it.
    ("cargo-auditable", "0.7.7", ""),
    // Reads that list as a bill of materials.
    ("auditable2cdx", "0.1.0", ""),
    // Collects the licences of the crates.
    ("cargo-about", "0.9.3", "cli"),
];

/// Builds the tools that are missing, and returns PATH with all of them in front.
pub(crate) fn path(paths: &Paths, progress: Progress) -> Result<OsString> {
    let mut folders = Vec::new();
    for (number, (name, version, features)) in TOOLS.iter().enumerate() {
        let folder = paths.cache.join("bin").join(format!("{name}-{version}"));
        if !folder.join("bin").join(name).is_file() {
            let mut step = progress.step(number + 1, TOOLS.len(), format!("{name} {version}"));
            step.update("building");
            files::make_folder(&folder)?;
            // Outside the checkout, whose settings are for other targets.
            run::output(
                cargo()
                    .current_dir(&paths.cache)
                    .env_remove("CARGO_TARGET_DIR")
                    .args(["install", "--quiet", "--locked", "--features", features])
                    .arg("--root")
                    .arg(&folder)
                    .arg(format!("{name}@{version}")),
            )?;
            step.done("built");
        }
        folders.push(folder.join("bin"));
    }
    let before = std::env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = folders
        .into_iter()
        .chain(std::env::split_paths(&before))
        .collect();
    std::env::join_paths(all).map_err(|error| Error::Machine(format!("PATH: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_for_macos_is_built_with_the_same_version() {
        let workflow = sandbox_machine::checkout()
            .unwrap()
            .join(".github/workflows/release.yaml");
        let text = std::fs::read_to_string(workflow).unwrap();
        let (name, version, _) = TOOLS[0];
        let expected = format!("cargo install --quiet --locked {name}@{version})");
        assert!(text.contains(&expected), "{expected}");
    }
}
