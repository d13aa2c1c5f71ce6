//! `cargo sandbox test`: everything a change must pass, in stages, cheapest first. Runs cargo and
//! its own sandbox. Holds no check itself: each stage is a command that a person can run by hand,
//! and is printed as such.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use sandbox_machine::{
    Column, Image, ImageBinaries, Name, OrderClients, Programs, Progress, Sandbox, Tool, cargo,
    checkout, table,
};

use crate::stdout::print;

/// The sandbox of the cluster stage. It is removed at the end.
const NAME: &str = "checks";

/// One stage.
struct Stage {
    /// By which `--only` selects it.
    name: &'static str,
    /// What it shows.
    about: &'static str,
    /// What cargo runs.
    cargo: &'static [&'static str],
    /// What it needs besides Rust.
    needs: Needs,
}

/// What a stage needs besides Rust.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// The programs that the sandbox installs and builds.
    Programs,
    /// A sandbox with the images loaded and the operator installed.
    Cluster,
}

const STAGES: [Stage; 5] = [
    Stage {
        name: "format",
        about: "every file is formatted",
        cargo: &["fmt", "--all", "--check"],
        needs: Needs::Nothing,
    },
    Stage {
        name: "lint",
        about: "no compiler or clippy warning in any target or feature",
        cargo: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "--deny",
            "warnings",
        ],
        needs: Needs::Nothing,
    },
    Stage {
        name: "docs",
        about: "the documentation of the code builds without a warning",
        cargo: &["doc", "--workspace", "--no-deps", "--quiet"],
        needs: Needs::Nothing,
    },
    Stage {
        name: "test",
        about: "unit, property, simulation and mock API tests; services on loopback; chart, CRD \
                and document drift",
        cargo: &["test", "--workspace"],
        needs: Needs::Programs,
    },
    Stage {
        name: "cluster",
        about: "the README's promises on real pods, with the operator installed by its chart; the \
                life cycle of the sandbox",
        cargo: &[
            "test",
            "--workspace",
            "--features",
            "tests/cluster,sandbox/cluster",
            "--test",
            "cluster",
            "--test",
            "lifecycle",
            // Most of their time is waiting.
            "--",
            "--test-threads=3",
        ],
        needs: Needs::Cluster,
    },
];

/// Runs the stages named, or all of them; stops at the first that fails.
pub(crate) fn run(only: &[String], list: bool, keep: bool) -> anyhow::Result<()> {
    if list {
        for stage in &STAGES {
            print(&format!(
                "{:<8} {}\n         {}\n",
                stage.name,
                stage.about,
                command_line(stage)
            ))?;
        }
        return Ok(());
    }
    let unknown: Vec<&String> = only
        .iter()
        .filter(|name| STAGES.iter().all(|stage| stage.name != **name))
        .collect();
    ensure!(
        unknown.is_empty(),
        "no stage is named {unknown:?}; `cargo sandbox test --list` lists the stages"
    );

    let before = changes()?;
    let mut times = Vec::new();
    let mut outcome = Ok(());
    for stage in STAGES
        .iter()
        .filter(|stage| only.is_empty() || only.iter().any(|name| name == stage.name))
    {
        print(&format!("\n== {}: {}\n", stage.name, stage.about))?;
        let began = Instant::now();
        outcome = stage
            .run(keep)
            .with_context(|| format!("stage {} failed", stage.name));
        times.push((stage.name, began.elapsed()));
        if outcome.is_err() {
            break;
        }
    }
    print(&summary(&times, outcome.is_ok()))?;
    outcome?;
    let after = changes()?;
    ensure!(
        before == after,
        "the checks changed files in the checkout (git status):\n{after}"
    );
    Ok(())
}

impl Stage {
    fn run(&self, keep: bool) -> anyhow::Result<()> {
        let mut command = cargo();
        command
            .args(self.cargo)
            .env("INSTA_UPDATE", "no")
            .env("RUSTDOCFLAGS", "--deny warnings")
            .current_dir(checkout()?);
        match self.needs {
            Needs::Nothing => {}
            Needs::Programs => {
                let name: Name = NAME.parse()?;
                let programs = Sandbox::provision(&name, Progress::default())?;
                let clients = Sandbox::provision_clients(&name, Progress::default())?;
                equip(&mut command, &programs, &clients)?;
                let tool = Sandbox::provision_tool(&name, Tool::Dashboards, Progress::default())?;
                command.env("DASHBOARDS", tool);
                // So that no test waits for the compiler.
                for tool in [Tool::Actionlint, Tool::Krew] {
                    Sandbox::provision_tool(&name, tool, Progress::default())?;
                }
            }
            Needs::Cluster => {
                let name: Name = NAME.parse()?;
                Sandbox::clean(&name, false)?;
                let result = Self::on_cluster(&name, command);
                if keep {
                    print(&format!(
                        "the sandbox {NAME} stays up: cargo sandbox --name {NAME} status\n"
                    ))?;
                } else {
                    Sandbox::clean(&name, false)?;
                }
                return result;
            }
        }
        succeed(command)
    }

    fn on_cluster(name: &Name, mut command: Command) -> anyhow::Result<()> {
        let binaries = ImageBinaries::of(&Image::ALL, None, Progress::default())?;
        let sandbox = Sandbox::up(name, Progress::default())?;
        sandbox.images(binaries, Progress::default())?;
        sandbox.install_operator(&[
            "hints.enabled=true",
            "scaleTargets[0].apiGroup=apps",
            "scaleTargets[0].resource=deployments",
            "scaleTargets[1].apiGroup=apps",
            "scaleTargets[1].resource=statefulsets",
        ])?;
        let clients = Sandbox::provision_clients(name, Progress::default())?;
        equip(&mut command, sandbox.programs(), &clients)?;
        // So that no test waits for the compiler.
        Sandbox::provision_tool(name, Tool::Helm3, Progress::default())?;
        command.env("TASKQUEUE_SANDBOX", name.as_str());
        succeed(command)
    }
}

/// Tells the tests where the programs are.
fn equip(command: &mut Command, programs: &Programs, clients: &OrderClients) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::iter::once(programs.postgres_folder.clone())
        .chain(std::env::split_paths(&path))
        .collect();
    let joined: OsString = std::env::join_paths(folders).context("PATH")?;
    command
        .env("TEMPORAL_CLI", &programs.temporal)
        .env("HELM", &programs.helm)
        .env("KUBECONFORM", &programs.kubeconform)
        .env("PROMTOOL", &programs.promtool)
        .env("ORDER_CLIENT_GO", &clients.go)
        .env("ORDER_CLIENT_PYTHON", &clients.python)
        .env("PATH", joined);
    Ok(())
}

fn succeed(mut command: Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("cargo exited with {status}");
    }
    Ok(())
}

fn command_line(stage: &Stage) -> String {
    format!("cargo {}", stage.cargo.join(" "))
}

fn summary(times: &[(&str, Duration)], passed: bool) -> String {
    let total = ("all", times.iter().map(|(_, time)| *time).sum::<Duration>());
    let columns = [Column::Words("STAGE"), Column::Numbers("SECONDS")];
    let rows = times
        .iter()
        .chain([&total])
        .map(|(name, time)| [(*name).to_owned(), format!("{:.1}", time.as_secs_f64())]);
    let verdict = if passed {
        "every stage passed"
    } else {
        "the last stage failed"
    };
    format!("\n{}{verdict}\n", table(columns, rows))
}

/// What git sees as changed: the checks must leave it as it was.
fn changes() -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(["status", "--porcelain"])
        .current_dir(checkout()?)
        .output()
        .context("starting git to check that the checkout is unchanged")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
