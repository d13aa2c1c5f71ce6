//! Identifies processes beyond their process id, which may be reused. Reads /proc.

use procfs::{
    ProcResult,
    process::{Stat, all_processes},
    sys::kernel::random::boot_id,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The identity of a process: a process id alone may be reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The process id, as the machine (not the sandbox) counts.
    pub pid: i32,
    /// When it started, in clock ticks since the machine's start.
    pub start_ticks: u64,
    /// The boot of the machine in which it started.
    pub boot_id: String,
}

impl Process {
    /// The identity of a process that exists now.
    pub fn of(pid: i32) -> Result<Self> {
        let read = || -> ProcResult<Self> {
            Ok(Self {
                pid,
                start_ticks: stat(pid)?.starttime,
                boot_id: boot_id()?,
            })
        };
        read().map_err(|error| Error::source(format!("process {pid}"), error.to_string()))
    }

    /// Whether exactly this process still exists (and is not just waiting to be reaped).
    pub fn is_alive(&self) -> bool {
        let Ok(stat) = stat(self.pid) else {
            return false;
        };
        !matches!(stat.state, 'Z' | 'X')
            && stat.starttime == self.start_ticks
            && boot_id().is_ok_and(|id| id == self.boot_id)
    }

    /// Whether its command line holds this word.
    pub fn runs(&self, word: &str) -> bool {
        procfs::process::Process::new(self.pid)
            .and_then(|process| process.cmdline())
            .is_ok_and(|line| line.iter().any(|part| part == word))
    }
}

/// The processes that this process id has started and that still exist.
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    // Processes come and go while this looks.
    let processes = all_processes().into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.stat().ok())
        .filter(|stat| stat.ppid == parent)
        .map(|stat| stat.pid)
        .collect()
}

fn stat(pid: i32) -> ProcResult<Stat> {
    procfs::process::Process::new(pid)?.stat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_recognized_and_another_with_the_same_id_is_not() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let other = Process {
            start_ticks: me.start_ticks + 1,
            ..me.clone()
        };
        assert!(!other.is_alive());
        let earlier = Process {
            boot_id: "earlier".into(),
            ..me
        };
        assert!(!earlier.is_alive());
    }
}
