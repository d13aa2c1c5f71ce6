//! The status of a running sandbox, as its init process records it. Reads one file.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{error::Result, files::read_json};

/// The phase of a component.
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
    /// Whether the phase stays until something outside changes it.
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
    /// Its phase.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::write_json;

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
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status.json");
        assert_eq!(Status::read(&file).unwrap(), None);
        write_json(&file, &status).unwrap();
        assert_eq!(Status::read(&file).unwrap(), Some(status));
    }
}
