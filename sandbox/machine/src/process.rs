//! Processes that are recognised for certain. Reads /proc; starts nothing.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Result};

/// A process that is recognised for certain: a process id alone may have been given to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The process id, as the machine (not the sandbox) counts.
    pub pid: i32,
    /// When it started, in clock ticks since the machine's start.
    pub start_ticks: u64,
    /// Which start of the machine that was.
    pub boot_id: String,
}

impl Process {
    /// Recognises a process that exists now.
    pub fn of(pid: i32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .attempt(|| format!("looking at process {pid}"))?;
        let start_ticks = start_ticks(&stat).ok_or_else(|| {
            Error::Machine(format!("/proc/{pid}/stat has an unknown form: {stat:?}"))
        })?;
        Ok(Self {
            pid,
            start_ticks,
            boot_id: boot_id()?,
        })
    }

    /// Whether exactly this process still exists (and is not just waiting to be reaped).
    pub fn is_alive(&self) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        let zombie = matches!(fields(&stat).first(), Some(&("Z" | "X")));
        !zombie
            && start_ticks(&stat) == Some(self.start_ticks)
            && boot_id().is_ok_and(|id| id == self.boot_id)
    }

    /// Whether its command line holds this word.
    pub fn runs(&self, word: &str) -> bool {
        fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|line| {
            line.split(|byte| *byte == 0)
                .any(|part| part == word.as_bytes())
        })
    }
}

/// The processes that this process id has started and that still exist.
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| fields(&stat).get(1) == Some(&parent.to_string().as_str()))
        })
        .collect()
}

fn boot_id() -> Result<String> {
    let file = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(file)
        .attempt(|| format!("reading {file}"))?
        .trim()
        .to_owned())
}

/// The fields of /proc/PID/stat after the command's name, which may itself hold spaces and brackets.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(") ")
        .map_or_else(Vec::new, |(_, rest)| rest.split(' ').collect())
}

/// The 22nd field of /proc/PID/stat.
fn start_ticks(stat: &str) -> Option<u64> {
    fields(stat).get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_and_state_are_found_behind_a_name_with_brackets_and_spaces() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 40 10";
        assert_eq!(start_ticks(stat), Some(98765));
        assert_eq!(fields(stat)[..2], ["S", "1"]);
    }

    #[test]
    fn a_process_is_known_again_and_another_with_its_number_is_not() {
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
