//! The cargo command without the environment of an outer cargo, and what it says that it built.
//! Starts cargo.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use serde::Deserialize;

use crate::{
    error::{Attempt, Error, Result},
    run,
};

/// Cargo with the environment of a direct call. `cargo run` sets variables about the package for
/// the program that it runs. If the build scripts of an inner cargo see them, *ring* and with it
/// the Temporal SDK are rebuilt on every alternation between the two.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
}

/// Runs a build of cargo for these binaries, and returns where each is. Cargo's own output goes to
/// standard error.
pub fn executables(build: &mut Command, binaries: &[&str]) -> Result<Vec<PathBuf>> {
    Build::start(build, binaries)?.finish(|_| ())
}

/// A build of cargo that goes on beside other work. If it is dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Build {
    what: String,
    binaries: Vec<String>,
    cargo: Running,
    /// What cargo says, line by line, until it ends.
    lines: Receiver<String>,
}

impl Build {
    /// Starts a build of these binaries.
    pub(crate) fn start(build: &mut Command, binaries: &[&str]) -> Result<Self> {
        build.arg("--message-format=json-render-diagnostics");
        for binary in binaries {
            build.args(["--bin", binary]);
        }
        let what = run::describe(build);
        let mut cargo = build
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .attempt(|| format!("starting {what}"))?;
        let (says, lines) = mpsc::channel();
        if let Some(output) = cargo.stdout.take() {
            // Cargo must not wait until somebody is interested.
            thread::spawn(move || {
                let all = BufReader::new(output).lines().map_while(Result::ok);
                all.map(|line| says.send(line))
                    .take_while(Result::is_ok)
                    .count()
            });
        }
        Ok(Self {
            what,
            binaries: binaries.iter().map(|&binary| binary.to_owned()).collect(),
            cargo: Running(cargo),
            lines,
        })
    }

    /// Waits until it ends, and returns where each binary is. Calls `progress` with the number of
    /// crates that were compiled.
    pub(crate) fn finish(mut self, mut progress: impl FnMut(usize)) -> Result<Vec<PathBuf>> {
        let (mut output, mut compiled) = (Vec::new(), 0);
        for line in &self.lines {
            if let Ok(made) = serde_json::from_str::<Made>(&line) {
                compiled += usize::from(made.fresh == Some(false));
                progress(compiled);
                output.push(made);
            }
        }
        let what = self.what;
        let ended = self
            .cargo
            .0
            .wait()
            .attempt(|| format!("waiting for {what}"))?;
        if !ended.success() {
            let why = format!("{ended}; see the output above");
            return Err(Error::Command {
                what,
                why,
                tail: String::new(),
            });
        }
        let binaries = self.binaries.iter();
        binaries.map(|binary| find(&output, binary)).collect()
    }
}

/// A process that ends with this value.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A line of cargo's output about an artifact.
#[derive(Debug, Deserialize)]
struct Made {
    /// Whether it was there already.
    fresh: Option<bool>,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

fn find(output: &[Made], binary: &str) -> Result<PathBuf> {
    let is_it = |made: &&Made| made.target.as_ref().is_some_and(|it| it.name == binary);
    output
        .iter()
        .filter(is_it)
        .find_map(|made| made.executable.clone())
        .ok_or_else(|| Error::Machine(format!("cargo built no binary {binary}")))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Instant};

    use super::*;

    /// Says what cargo would say about two binaries of which one was there already.
    fn speaks(then: &str) -> Command {
        let said = r#"
{"reason":"compiler-artifact","target":{"name":"order_worker"},"executable":null,"fresh":false}
{"reason":"compiler-artifact","target":{"name":"order-worker"},"executable":"/t/order-worker",
"fresh":false}
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other","fresh":true}
{"reason":"build-finished","success":true}"#
            .replace(",\n", ",");
        let mut command = Command::new("/bin/sh");
        // What `Build` adds become arguments of the script, which ignores them.
        command.args(["-c", &format!("echo '{said}'; {then}")]);
        command
    }

    #[test]
    fn the_binaries_are_where_cargo_says_and_what_was_there_is_not_counted() {
        let build = Build::start(&mut speaks("true"), &["order-worker", "other"]).unwrap();
        let mut counted = Vec::new();
        let found = build.finish(|compiled| counted.push(compiled)).unwrap();
        assert_eq!(found, [Path::new("/t/order-worker"), Path::new("/t/other")]);
        assert_eq!(counted, [1, 2, 2, 2]);
        let error = executables(&mut speaks("true"), &["taskqueue-operator"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cargo built no binary taskqueue-operator"
        );
    }

    #[test]
    fn a_failed_build_names_its_command_and_status() {
        let error = executables(&mut speaks("exit 101"), &["other"]).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("sh -c echo"), "{error}");
        assert!(
            error.ends_with(": exit status: 101; see the output above"),
            "{error}"
        );
    }

    #[test]
    fn a_build_that_nobody_waits_for_is_ended() {
        let build = Build::start(&mut speaks("exec sleep 600"), &["other"]).unwrap();
        let process = Path::new("/proc").join(build.cargo.0.id().to_string());
        let began = Instant::now();
        drop(build);
        assert!(!process.exists());
        assert!(began.elapsed().as_secs() < 60);
    }
}
