//! Finds and runs `helm` on the chart. Does I/O: starts processes, writes under the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Names an image. The chart does not render without one.
pub(crate) const IMAGE: [&str; 2] = [
    "--set",
    "image.repository=registry.example.com/taskqueue-operator",
];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the operator's folder lies in the repository")
        .to_owned()
}

/// The folder of the chart.
pub(crate) fn chart() -> PathBuf {
    root().join("charts/taskqueue-operator")
}

/// The text of a file in the chart.
pub(crate) fn chart_file(path: &str) -> String {
    read(&chart().join(path))
}

/// The text of a file; panics with its path.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value sets under `ci/`, by name, in order.
pub(crate) fn value_sets() -> Vec<(String, PathBuf)> {
    let mut sets: Vec<_> = std::fs::read_dir(chart().join("ci"))
        .expect("the chart has value sets in ci/")
        .map(|entry| entry.expect("ci/ is readable").path())
        .map(|path| {
            (
                path.file_stem()
                    .expect("a file has a name")
                    .to_string_lossy()
                    .into_owned(),
                path,
            )
        })
        .collect();
    sets.sort();
    sets
}

/// Finds a program: named by the environment, built by the sandbox, or on the path.
pub(crate) fn program(name: &str) -> PathBuf {
    let variable = name.to_uppercase();
    if let Some(path) = std::env::var_os(&variable) {
        return path.into();
    }
    built_by_the_sandbox(name)
        .or_else(|| on_the_path(name))
        .unwrap_or_else(|| {
            panic!(
                "{name} is neither in ${variable}, nor in the sandbox's cache, nor on the PATH; \
                 `cargo sandbox test --only test` builds or installs it"
            )
        })
}

/// The newest `bin/<name>-<hash>/<name>` of the sandbox's cache.
fn built_by_the_sandbox(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    std::fs::read_dir(cache.join("taskqueue-operator/bin"))
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{name}-"))
        })
        .map(|entry| entry.path().join(name))
        .filter(|path| path.is_file())
        .max_by_key(|path| {
            path.metadata()
                .and_then(|data| data.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        })
}

fn on_the_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Runs helm: `Ok` with what it printed, `Err` with its error message.
pub(crate) fn helm<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Result<String, String> {
    let output = Command::new(program("helm"))
        .args(arguments)
        // Never contacts a cluster, whatever the caller's environment points at.
        .env("KUBECONFIG", "/dev/null")
        .env("HELM_CACHE_HOME", tmp("helm-cache"))
        .env("HELM_CONFIG_HOME", tmp("helm-config"))
        .env("HELM_DATA_HOME", tmp("helm-data"))
        .output()
        .expect("helm can be started");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("helm prints UTF-8"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The chart rendered as release `taskqueue-operator` in namespace `taskqueue-system`.
pub(crate) fn template(chart: &Path, arguments: &[&str]) -> Result<String, String> {
    let chart = chart.to_string_lossy();
    let mut all = vec![
        "template",
        "taskqueue-operator",
        &*chart,
        "--namespace",
        "taskqueue-system",
    ];
    all.extend(arguments);
    helm(&all)
}

/// The chart rendered with one value set.
pub(crate) fn rendered(values: &Path) -> String {
    template(&chart(), &["--values", &values.to_string_lossy()])
        .unwrap_or_else(|error| panic!("{}: {error}", values.display()))
}

/// A path under the target folder.
pub(crate) fn tmp(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("chart")
        .join(name)
}

/// Writes a file under the target folder and returns its path.
pub(crate) fn write_tmp(name: &str, text: &str) -> PathBuf {
    let path = tmp(name);
    let folder = path.parent().expect("a file lies in a folder");
    std::fs::create_dir_all(folder).expect("the target folder can be written");
    std::fs::write(&path, text).expect("the target folder can be written");
    path
}
