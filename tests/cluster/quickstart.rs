//! The quick start of the README, command by command, on a cluster without the operator. Only the
//! images differ: the sandbox has its own instead of those that a person builds or pulls.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use sandbox_machine::{Language, Progress, cargo, executables};

use crate::{
    harness::{TestCluster, alone, output, within},
    upgrade::release::on_a_bare_cluster,
};

/// The worker's image in the manifest.
const WORKER: &str = "localhost/greeting-worker:0.1.0";
/// How many workflows the manifest's load starts.
const WORKFLOWS: &str = "90";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The commands of a block of the README's quick start: the one that has this word.
fn commands(word: &str) -> anyhow::Result<Vec<String>> {
    let readme = fs::read_to_string(repository().join("README.md"))?;
    let (_, section) = readme
        .split_once("\n## Quick start\n")
        .context("the README has no quick start")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let block = section
        .split("```")
        .skip(1)
        .step_by(2)
        .find(|block| block.contains(word))
        .with_context(|| format!("the quick start has no block with {word}"))?;
    let joined = block.trim().replace("\\\n", "");
    Ok(joined
        .lines()
        .map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned())
        .collect())
}

/// A folder with the files and programs that the commands name.
struct QuickStart {
    folder: tempfile::TempDir,
    cluster: Arc<TestCluster>,
}

impl QuickStart {
    async fn prepare(cluster: &Arc<TestCluster>) -> anyhow::Result<Self> {
        let sandbox = cluster.sandbox.clone();
        let (worker, temporal, plugin) = tokio::task::spawn_blocking(move || {
            let worker = sandbox.example_worker(Language::Go, Progress::silent())?;
            let temporal = sandbox.temporal_image(Progress::silent())?;
            let mut build = cargo();
            build
                .args(["build", "--workspace"])
                .current_dir(repository());
            let plugin = executables(&mut build, &["kubectl-tqw"])?.remove(0);
            anyhow::Ok((worker, temporal, plugin))
        })
        .await??;
        let quick_start = Self {
            folder: tempfile::tempdir()?,
            cluster: cluster.clone(),
        };
        let at = |path: &str| quick_start.folder.path().join(path);
        symlink(repository().canonicalize()?.join("charts"), at("charts"))?;
        let (_, version) = temporal.rsplit_once(':').context("a tag")?;
        let published = format!("temporalio/temporal:{version}");
        let mut manifest = fs::read_to_string(repository().join("examples/quickstart.yaml"))?;
        for (image, ours) in [(WORKER, &worker), (published.as_str(), &temporal)] {
            anyhow::ensure!(
                manifest.contains(image),
                "the manifest has no image {image}"
            );
            manifest = manifest.replace(image, ours);
        }
        fs::create_dir(at("examples"))?;
        fs::write(at("examples/quickstart.yaml"), manifest)?;

        fs::create_dir(at("bin"))?;
        let programs = cluster.sandbox.programs();
        symlink(&programs.helm, at("bin/helm"))?;
        symlink(&programs.kubectl, at("bin/kubectl"))?;
        symlink(plugin, at("bin/kubectl-tqw"))?;
        Ok(quick_start)
    }

    /// The command in a shell, as a person who has just this cluster.
    fn shell(&self, command: &str) -> anyhow::Result<Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.folder.path().join("bin")];
        let path = folders.into_iter().chain(std::env::split_paths(&path));
        let mut shell = Command::new("sh");
        let helm = self.cluster.sandbox.helm();
        let variables = helm.get_envs();
        shell
            .envs(variables.filter_map(|(name, value)| Some((name, value?))))
            .env("PATH", std::env::join_paths(path)?)
            .current_dir(self.folder.path())
            // The shell is replaced, so that ending it ends the command.
            .args(["-c", &format!("exec {command}")]);
        Ok(shell)
    }

    fn watch(&self, command: &str) -> anyhow::Result<Watch> {
        let file = self.folder.path().join("watched");
        let process = self
            .shell(command)?
            .stdin(Stdio::null())
            .stdout(fs::File::create(&file)?)
            .spawn()?;
        Ok(Watch { process, file })
    }

    /// How many workflows of the load are in this state, according to the Temporal of the manifest.
    fn workflows(&self, state: &str) -> anyhow::Result<String> {
        let query = format!("ExecutionStatus = '{state}'");
        let text = output(self.cluster.sandbox.kubectl().args([
            "--namespace",
            "quickstart",
            "exec",
            "deployment/temporal",
            "--",
            "/temporal",
            "workflow",
            "count",
            "--query",
            &query,
        ]))?;
        Ok(text.trim().trim_start_matches("Total: ").to_owned())
    }
}

/// A running `kubectl get --watch`.
struct Watch {
    process: Child,
    file: PathBuf,
}

impl Watch {
    /// What the column REPLICAS has shown, in order: ready and desired.
    fn replicas(&self) -> anyhow::Result<Vec<String>> {
        let text = fs::read_to_string(&self.file)?;
        let mut column = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("hello ")) {
            column.extend(line.split_whitespace().nth(2).map(str::to_owned));
        }
        Ok(column)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs the commands, and shows at each what the README promises.
async fn runs_as_written(quick_start: &QuickStart) -> anyhow::Result<()> {
    for command in commands("helm install")? {
        if command.ends_with("--watch") {
            let watch = quick_start.watch(&command)?;
            let seen = within(
                Duration::from_mins(5),
                "the fleet grows to 5 ready workers or more, and goes back to zero",
                || async {
                    let shown = watch.replicas()?;
                    let ready = |text: &String| text.split('/').next()?.parse::<u32>().ok();
                    let most = shown.iter().filter_map(ready).max().unwrap_or_default();
                    let at_zero = shown.last().is_some_and(|last| last == "0/0");
                    Ok(if most >= 5 && at_zero {
                        Ok(shown)
                    } else {
                        Err(format!("{shown:?}"))
                    })
                },
            )
            .await?;
            println!("{command}: {seen:?}");
            let completed = quick_start.workflows("Completed")?;
            anyhow::ensure!(completed == WORKFLOWS, "{completed} workflows completed");
        } else {
            let printed = output(&mut quick_start.shell(&command)?)?;
            if command.contains(" explain ") {
                for part in ["greetings", "LAST CHANGE", "to 0: no task waits"] {
                    anyhow::ensure!(printed.contains(part), "{command}: {part}: {printed}");
                }
            }
        }
    }
    for command in commands("kubectl delete")? {
        output(&mut quick_start.shell(&command)?)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_of_the_readme_runs_as_it_is_written() {
    alone("the-quick-start", |cluster| async move {
        let quick_start = QuickStart::prepare(&cluster).await?;
        on_a_bare_cluster(&cluster, |_| async move {
            let result = runs_as_written(&quick_start).await;
            if result.is_err() {
                let view = "get tqw,deployments,pods,jobs,events --namespace quickstart";
                let view = output(quick_start.cluster.sandbox.kubectl().args(view.split(' ')));
                eprintln!("{}", view.unwrap_or_default());
                let remove = ["delete", "namespace", "quickstart", "--ignore-not-found"];
                output(quick_start.cluster.sandbox.kubectl().args(remove))?;
            }
            result
        })
        .await
    })
    .await;
}
