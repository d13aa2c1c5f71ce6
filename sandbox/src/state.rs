//! What a running sandbox records about itself, and how a process is recognised again. Reads and writes files
//! and /proc; starts nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Attempt, Error, Result};

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It waits for the components that it needs.
    Waiting,
    /// Its program is not there yet (images have not been built).
    Absent,
    /// Its process runs but does not answer yet.
    Starting,
    /// It answers.
    Ready,
    /// It ended and is about to be started again.
    Restarting,
    /// It has failed more than once without ever answering; it is still tried again.
    Failed,
    /// Someone stopped it.
    Stopped,
    /// Someone froze it: its process exists and does nothing.
    Paused,
}

impl Phase {
    /// Whether nothing more is to be expected without a change from outside.
    pub fn is_settled(self) -> bool {
        matches!(
            self,
            Self::Absent | Self::Ready | Self::Failed | Self::Stopped | Self::Paused
        )
    }
}

/// One component as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// How it is.
    pub phase: Phase,
    /// Its process inside the sandbox, if it has one.
    pub pid: Option<i32>,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// Milliseconds from the sandbox's start to the first time that it answered.
    pub ready_after_ms: Option<u64>,
    /// What went wrong last, or what it waits for.
    pub message: String,
    /// Where it is reached, if anywhere.
    pub address: String,
}

/// The whole sandbox as its init process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When the init process started (RFC 3339).
    pub started: jiff::Timestamp,
    /// Whether it is ending everything.
    pub ending: bool,
    /// By name.
    pub components: BTreeMap<String, ComponentStatus>,
}

impl Status {
    /// Reads the status of a sandbox; `None` where there is none.
    pub fn read(file: &Path) -> Result<Option<Self>> {
        read_json(file)
    }
}

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

/// Reads a JSON file; `None` where there is none.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io {
            what: format!("reading {}", file.display()),
            source,
        }),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Json {
                what: file.display().to_string(),
                source,
            }),
    }
}

/// Writes a JSON file so that a reader sees the old content or the new, never a part.
pub(crate) fn write_json<T: Serialize>(file: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| Error::Json {
        what: file.display().to_string(),
        source,
    })?;
    text.push(b'\n');
    write_file(file, &text)
}

/// Writes a file so that a reader sees the old content or the new, never a part.
pub(crate) fn write_file(file: &Path, content: &[u8]) -> Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    fs::write(&beside, content).attempt(|| format!("writing {}", beside.display()))?;
    fs::rename(&beside, file).attempt(|| format!("writing {}", file.display()))
}

/// Like [`write_file`], for content that only its owner may read.
pub(crate) fn write_secret(file: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".secret.tmp");
    let beside = PathBuf::from(beside);
    fs::write(&beside, b"").attempt(|| format!("writing {}", beside.display()))?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::write(&beside, content))
        .and_then(|()| fs::rename(&beside, file))
        .attempt(|| format!("writing {}", file.display()))
}

/// Makes a folder and the folders above it.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).attempt(|| format!("making the folder {}", folder.display()))
}

/// Removes a folder and all that is in it; nothing happens where there is none.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.attempt(|| format!("removing {}", folder.display())),
    }
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

    #[test]
    fn a_status_is_read_back_as_it_was_written() {
        let status = Status {
            started: "2026-01-02T03:04:05Z".parse().unwrap(),
            ending: false,
            components: BTreeMap::from([(
                "etcd".to_owned(),
                ComponentStatus {
                    phase: Phase::Ready,
                    pid: Some(7),
                    restarts: 1,
                    ready_after_ms: Some(900),
                    message: String::new(),
                    address: "127.0.0.1:2379".into(),
                },
            )]),
        };
        let folder = std::env::temp_dir().join(format!("sandbox-state-{}", std::process::id()));
        make_folder(&folder).unwrap();
        let file = folder.join("status.json");
        assert_eq!(Status::read(&file).unwrap(), None);
        write_json(&file, &status).unwrap();
        assert_eq!(Status::read(&file).unwrap(), Some(status));
        remove_folder(&folder).unwrap();
        remove_folder(&folder).unwrap();
    }
}
