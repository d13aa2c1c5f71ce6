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
    let bin = paths.cache.join("bin");
    let folder = |name: &str, version: &str| bin.join(format!("{name}-{version}"));
    let all = TOOLS.iter().enumerate();
    let mut missing = all
        .filter(|(_, (name, version, _))| {
            let built = folder(name, version).join("bin").join(name);
            !built.is_file()
        })
        .peekable();
    if missing.peek().is_some() {
        // Most of their crates are the same.
        let shared = bin.join(format!("release.{}.tmp", std::process::id()));
        for (number, (name, version, features)) in missing {
            let mut step = progress.step(number + 1, TOOLS.len(), format!("{name} {version}"));
            step.update("building");
            let mut install = cargo();
            install
                .args(["install", "--quiet", "--locked", "--features", features])
                .arg("--root")
                .arg(folder(name, version))
                .arg(format!("{name}@{version}"))
                .env("CARGO_TARGET_DIR", &shared)
                // They run for seconds, and optimizing them takes minutes.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off");
            files::make_folder(&bin)?;
            // Outside the checkout, whose settings are for other targets.
            run::output(install.current_dir(&bin))?;
            step.done("built");
        }
        files::remove_folder(&shared)?;
    }
    let before = std::env::var_os("PATH").unwrap_or_default();
    let built = TOOLS.iter();
    let built = built.map(|(name, version, _)| folder(name, version).join("bin"));
    let all: Vec<PathBuf> = built.chain(std::env::split_paths(&before)).collect();
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
