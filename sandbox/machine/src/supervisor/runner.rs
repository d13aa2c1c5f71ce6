//! Keeps one component running: waits for its dependencies, prepares and starts it, probes it, and
//! restarts it when it ends. One thread per component.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    components::{Component, Owner, Step, readiness::Probe},
    error::Result,
    machine::Machine,
    status::Phase,
    supervisor::{
        component_states::ComponentStates,
        probe,
        reaper::{Reaper, kill},
    },
};

/// The pause before a component is started again: doubled each time, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A component that ran this long is started again without a pause.
const STEADY: Duration = Duration::from_secs(30);
/// Starts without an answer after which a component counts as failed. It is still restarted.
const TRIES: u32 = 3;
/// How often a component that is starting is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long one probe or step may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const STEP_TIMEOUT: Duration = Duration::from_mins(1);

/// The environment that every component gets: nothing of the person's own reaches them.
pub(super) type Environment = BTreeMap<&'static str, String>;

/// Returns that environment.
pub(super) fn environment(machine: &Machine) -> Result<Environment> {
    let paths = &machine.paths;
    let shim = machine
        .programs
        .containerd
        .parent()
        .unwrap_or(Path::new("/"))
        .display()
        .to_string();
    let home = paths.run().join("home");
    crate::files::make_folder(&home)?;
    // The component that runs this program finds its folders through these variables.
    let above = |folder: &Path, levels| {
        folder
            .ancestors()
            .nth(levels)
            .unwrap_or(Path::new("/"))
            .display()
            .to_string()
    };
    Ok(BTreeMap::from([
        ("XDG_STATE_HOME", above(&paths.state, 3)),
        ("XDG_CACHE_HOME", above(&paths.cache, 1)),
        (
            "PATH",
            format!("{shim}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ),
        ("HOME", home.display().to_string()),
        ("LANG", "C.UTF-8".into()),
    ]))
}

/// One component and what its thread needs.
pub(super) struct Runner {
    pub(super) component: Component,
    pub(super) states: Arc<ComponentStates>,
    pub(super) reaper: Arc<Reaper>,
    pub(super) environment: Arc<Environment>,
    pub(super) log: PathBuf,
    pub(super) scratch: PathBuf,
}

impl Runner {
    /// Runs until the init process ends.
    pub(super) fn run(self) {
        let name = self.component.name;
        let mut pause = SHORTEST_PAUSE;
        let mut failures = 0;
        loop {
            self.states.wait_for_turn(name, self.component.after);
            if !is_program(&self.component.program) {
                self.states.set(name, |status| {
                    status.phase = Phase::Absent;
                    status.message = "built by `cargo sandbox images`".into();
                });
                self.states.wait_for_change(Duration::from_secs(2));
                continue;
            }
            let began = Instant::now();
            let (was_ready, ending) = match self.start() {
                Ok(pid) => self.watch(pid),
                Err(why) => (false, why),
            };
            self.states.set(name, |status| status.pid = None);
            if !self.states.is_wanted(name) {
                failures = 0;
                pause = SHORTEST_PAUSE;
                continue;
            }
            failures = if was_ready { 0 } else { failures + 1 };
            pause = if began.elapsed() >= STEADY {
                SHORTEST_PAUSE
            } else {
                pause
            };
            self.note(&format!(
                "{ending}; it is restarted in {} ms",
                pause.as_millis()
            ));
            self.states.set(name, |status| {
                status.phase = if failures >= TRIES {
                    Phase::Failed
                } else {
                    Phase::Restarting
                };
                status.restarts += 1;
                status.message = ending;
            });
            self.pause(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && self.states.is_wanted(self.component.name) {
            self.states
                .wait_for_change(end.saturating_duration_since(Instant::now()));
        }
    }

    fn start(&self) -> Result<i32, String> {
        self.states.set(self.component.name, |status| {
            // A failed component stays failed until it answers.
            if status.phase != Phase::Failed {
                status.phase = Phase::Starting;
            }
        });
        for step in &self.component.prepare {
            self.step(step)?;
        }
        let log = self.open_log().map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = self.command(&self.component.program, self.component.owner);
        command
            .args(&self.component.args)
            .args(self.states.arguments(self.component.name))
            .stdout(log)
            .stderr(errors);
        let pid = self
            .reaper
            .spawn(&mut command)
            .map_err(|error| format!("{}: {error}", self.component.program.display()))?;
        self.states
            .set(self.component.name, |status| status.pid = Some(pid));
        Ok(pid)
    }

    /// Returns whether the component ever answered, and how it ended.
    fn watch(&self, pid: i32) -> (bool, String) {
        let started = jiff::Timestamp::now();
        let deadline = Instant::now() + self.component.timeout;
        let mut ready = false;
        loop {
            if self.reaper.has_ended(pid) {
                break;
            }
            if !self.states.is_wanted(self.component.name) {
                kill(pid, Signal::TERM);
            }
            match self.ask(started).and_then(|()| self.then()) {
                Ok(()) => {
                    ready = true;
                    self.states.ready(self.component.name);
                    break;
                }
                Err(why) if Instant::now() > deadline => {
                    kill(pid, Signal::KILL);
                    self.reaper.wait(pid, None);
                    let timeout = self.component.timeout.as_secs();
                    return (
                        false,
                        format!("it did not answer within {timeout} s ({why})"),
                    );
                }
                Err(why) => self
                    .states
                    .set(self.component.name, |status| status.message = why),
            }
            std::thread::sleep(ASK_EVERY);
        }
        let ending = self.reaper.wait(pid, None).unwrap_or_default();
        (ready, format!("it ended with {ending}"))
    }

    fn then(&self) -> Result<(), String> {
        self.component
            .then
            .iter()
            .try_for_each(|step| self.step(step))
    }

    fn ask(&self, started: jiff::Timestamp) -> Result<(), String> {
        match &self.component.ready {
            Probe::Command(command, wanted) => {
                let printed = self.output(command, self.component.owner, PROBE_TIMEOUT)?;
                match wanted {
                    Some(wanted) if printed.trim() != *wanted => Err(printed.trim().to_owned()),
                    _ => Ok(()),
                }
            }
            Probe::FreshTrue(command) => {
                let printed = self.output(command, self.component.owner, PROBE_TIMEOUT)?;
                if probe::is_fresh_true(&printed, started) {
                    Ok(())
                } else {
                    Err("the node is not ready yet".into())
                }
            }
            other => probe::ask(other),
        }
    }

    fn step(&self, step: &Step) -> Result<(), String> {
        if step.unless.as_ref().is_some_and(|path| path.exists()) {
            return Ok(());
        }
        self.output(&step.command, step.owner, STEP_TIMEOUT)
            .map(drop)
    }

    fn output(
        &self,
        command: &[String],
        owner: Option<Owner>,
        timeout: Duration,
    ) -> Result<String, String> {
        let Some((program, args)) = command.split_first() else {
            return Ok(String::new());
        };
        let mut command = self.command(Path::new(program), owner);
        self.reaper
            .output(command.args(args), timeout, &self.scratch)
    }

    fn command(&self, program: &Path, owner: Option<Owner>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment.iter())
            .current_dir("/")
            .process_group(0);
        if let Some((user, group)) = owner {
            command.uid(user).gid(group).env("HOME", "/");
        }
        command
    }

    fn open_log(&self) -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.log)
    }

    /// Writes a line of the sandbox's own into the component's log.
    fn note(&self, text: &str) {
        if let Ok(mut log) = self.open_log() {
            // A log that cannot be written must not stop the component.
            drop(writeln!(log, "--- sandbox: {text}"));
        }
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
