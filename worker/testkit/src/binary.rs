//! Finds and describes the measured order worker, and describes the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// Where a binary is that a benchmark got as an argument. Cargo starts a benchmark in the folder of
/// its package, so a relative path is taken from the folder in which cargo was started, or from
/// that of the repository.
///
/// # Errors
/// A sentence that says where the file was looked for.
pub fn find(file: &Path) -> anyhow::Result<PathBuf> {
    let started_in = std::env::var_os("PWD").map(PathBuf::from);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let folders = started_in.into_iter().chain(repository.map(Path::to_owned));
    let mut candidates: Vec<PathBuf> = folders.map(|folder| folder.join(file)).collect();
    candidates.dedup();
    let found = candidates.iter().find_map(|file| file.canonicalize().ok());
    found.with_context(|| {
        let candidates: Vec<String> = candidates.iter().map(|c| c.display().to_string()).collect();
        format!(
            "there is no order worker at {}; build one with `cargo build --release --workspace \
             --bin order-worker`, which puts it below target/x86_64-unknown-linux-musl/release",
            candidates.join(" or ")
        )
    })
}

/// Name, version, profile and size, for the first line of a measurement.
///
/// # Errors
/// A sentence that says why the program cannot be started.
pub fn describe(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let version = String::from_utf8_lossy(&output.stdout);
    let (name, profile) = match version.trim().strip_suffix(" (development build)") {
        Some(name) => (name, "dev"),
        None => (version.trim(), "release"),
    };
    let size = std::fs::metadata(program)?.len();
    let megabytes = f64::from(u32::try_from(size / 1000).unwrap_or(u32::MAX)) / 1000.0;
    Ok(format!(
        "{name}, profile {profile}, binary of {megabytes:.1} MB"
    ))
}

/// The number of cores, and the load average of the last minute.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores, load {minute}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_one_of_the_repository() {
        let found = find(Path::new("worker/testkit/Cargo.toml")).unwrap();
        assert_eq!(
            found,
            Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")
        );
        let message = find(Path::new("target/no-worker")).unwrap_err().to_string();
        assert!(
            message.contains("target/no-worker; build one with"),
            "{message}"
        );
        let message = describe(Path::new("/no-worker")).unwrap_err().to_string();
        assert_eq!(message, "/no-worker cannot be started");
    }
}
