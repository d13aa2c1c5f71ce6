//! Starts, finds and ends a sandbox's supervisor. Called by the command line.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
    process::{Child, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cgroup,
    error::{Attempt, Error, Result},
    files, forward,
    paths::Paths,
    process::Process,
    supervisor::{
        control_client,
        processes::{INIT, SUPERVISE, Supervisor, is_ours, kill, own_command},
    },
};

/// How long the end of a sandbox may take before it is forced.
const END_TIMEOUT: Duration = Duration::from_secs(12);

/// Starts a supervisor for a sandbox that has none.
pub(crate) fn start(paths: &Paths) -> Result<Child> {
    for folder in [paths.run(), paths.logs()] {
        files::make_folder(&folder)?;
    }
    rotate_logs(&paths.logs())?;
    let log = open_log(&paths.log("supervisor"))?;
    let errors = log
        .try_clone()
        .attempt(|| "opening the supervisor's log".into())?;
    own_command(&paths.name, SUPERVISE)?
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .attempt(|| "starting the supervisor".into())
}

fn open_log(file: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .attempt(|| format!("opening {}", file.display()))
}

/// Keeps the logs of one earlier run as `NAME.log.1`.
fn rotate_logs(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).attempt(|| format!("reading {}", folder.display()))?;
    for file in entries.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            let mut earlier = file.clone().into_os_string();
            earlier.push(".1");
            fs::rename(&file, &earlier).attempt(|| format!("renaming {}", file.display()))?;
        }
    }
    Ok(())
}

/// The network namespace of a sandbox that is up, held open.
pub(crate) fn network(paths: &Paths) -> Result<Arc<File>> {
    let record: Option<Supervisor> = files::read_json(&paths.supervisor_file())?;
    let init = record.and_then(|record| record.init);
    match init.filter(|init| is_ours(init, INIT)) {
        Some(init) => forward::namespace_of(init.pid),
        None => Err(Error::NotUp(paths.name.to_string())),
    }
}

/// Whether the sandbox's supervisor and init process are there.
pub(crate) fn is_up(paths: &Paths) -> Result<bool> {
    let record: Option<Supervisor> = files::read_json(&paths.supervisor_file())?;
    Ok(record.is_some_and(|record| {
        is_ours(&record.supervisor, SUPERVISE)
            && record.init.is_none_or(|init| is_ours(&init, INIT))
    }))
}

/// Ends a sandbox and clears up; harmless where there is none.
pub(crate) fn end(paths: &Paths) -> Result<()> {
    let record: Option<Supervisor> = files::read_json(&paths.supervisor_file())?;
    if let Some(record) = record {
        let processes: Vec<(&Process, &str)> = [
            Some((&record.supervisor, SUPERVISE)),
            record.init.as_ref().map(|init| (init, INIT)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let gone = || {
            processes
                .iter()
                .all(|(process, word)| !is_ours(process, word))
        };
        // Asked over its socket, the init process ends its components in order. If it does not
        // answer, it is killed.
        let asked = control_client::send(
            &paths.control_socket(),
            &control_client::Request::End,
            END_TIMEOUT,
        );
        if asked.is_err() || !within(END_TIMEOUT, gone) {
            for (process, word) in &processes {
                kill(process, word);
            }
            if !within(END_TIMEOUT, gone) {
                return Err(Error::Machine(format!(
                    "process {} does not exit; inspect it with ps",
                    record.supervisor.pid
                )));
            }
        }
    }
    clear(paths)
}

fn within(timeout: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Removes what a sandbox that has ended leaves behind: cgroups and the run folder.
pub(super) fn clear(paths: &Paths) -> Result<()> {
    cgroup::remove(&paths.cgroup())?;
    files::remove_folder(&paths.run())
}
