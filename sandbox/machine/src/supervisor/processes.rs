//! The sandbox's own processes: their names on the command line, the record of them, and how they
//! are identified. Reads /proc.

use std::process::Command;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Attempt, Result},
    paths::Name,
    process::Process,
};

/// Subcommands that identify the sandbox's own processes on their command lines.
pub(super) const SUPERVISE: &str = "supervise";
pub(super) const ENTER: &str = "enter";
pub(super) const INIT: &str = "init";
pub(super) const API_PROXY: &str = "api-proxy";

/// The processes of a sandbox, with the process ids of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Supervisor {
    /// `sandbox supervise`.
    pub(super) supervisor: Process,
    /// `sandbox init`, once it runs.
    pub(super) init: Option<Process>,
}

/// The command that runs this program with the given subcommand.
pub(super) fn own_command(name: &Name, word: &str) -> Result<Command> {
    let own = std::env::current_exe().attempt(|| "finding the sandbox's own program".into())?;
    let mut command = Command::new(own);
    command
        .args(["--name", name.as_str(), word])
        .current_dir("/");
    Ok(command)
}

/// Whether a recorded process still runs as what it was recorded for.
pub(super) fn is_ours(process: &Process, word: &str) -> bool {
    process.is_alive() && process.runs(word)
}

/// Kills a process if it is still ours: its process id may have been reused.
pub(super) fn kill(process: &Process, word: &str) {
    if is_ours(process, word)
        && let Some(pid) = Pid::from_raw(process.pid)
    {
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}
