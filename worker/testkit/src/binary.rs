//! Describes the measured order worker and the machine.

use std::path::Path;
use std::process::Command;

/// Name, version, profile and size, for the first line of a measurement.
pub fn describe(program: &Path) -> String {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
    let version = String::from_utf8_lossy(&output.stdout);
    let (name, profile) = match version.trim().strip_suffix(" (development build)") {
        Some(name) => (name, "dev"),
        None => (version.trim(), "release"),
    };
    let size = std::fs::metadata(program).unwrap().len();
    let megabytes = f64::from(u32::try_from(size / 1000).unwrap_or(u32::MAX)) / 1000.0;
    format!("{name}, profile {profile}, binary of {megabytes:.1} MB")
}

/// The number of cores, and the load average of the last minute.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores, load {minute}")
}
