//! The folders and files of a sandbox, and the names that it accepts. Reads the environment, no
//! file.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::error::{Error, Result};

/// Folders over which the sandbox mounts empty ones, in its own mount namespace. Neither the state
/// nor the cache may be in them.
pub(crate) const COVERED: [&str; 3] = ["/run", "/var/log", "/var/lib"];

/// A unix socket's path may have 107 bytes; containerd adds a suffix of 6 to its own.
const LONGEST_SOCKET: usize = 100;

/// The name of a sandbox: 1 to 20 characters, a-z, 0-9 and `-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the sandbox that people use when they name none.
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

impl Default for Name {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=20).contains(&text.len())
            && text.chars().all(allowed)
            && text.starts_with(|c: char| c.is_ascii_lowercase());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(Error::Usage(format!(
                "{text:?} is not a valid sandbox name; use 1 to 20 of a-z, 0-9 and -, starting \
                 with a letter"
            )))
        }
    }
}

/// The folders and files of one sandbox.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The sandbox's name.
    pub name: Name,
    /// What every sandbox shares: built programs, image archives.
    pub cache: PathBuf,
    /// What belongs to this sandbox alone.
    pub state: PathBuf,
}

impl Paths {
    /// The folders as the XDG variables and HOME say.
    pub fn of(name: &Name) -> Result<Self> {
        let cache = base("XDG_CACHE_HOME", ".cache")?.join("taskqueue-operator");
        let state = base("XDG_STATE_HOME", ".local/state")?
            .join("taskqueue-operator/sandbox")
            .join(name.as_str());
        let paths = Self {
            name: name.clone(),
            cache,
            state,
        };
        paths.check()?;
        Ok(paths)
    }

    fn check(&self) -> Result<()> {
        for (folder, variable) in [
            (&self.cache, "XDG_CACHE_HOME"),
            (&self.state, "XDG_STATE_HOME"),
        ] {
            if let Some(covered) = COVERED.iter().find(|covered| folder.starts_with(covered)) {
                return Err(Error::Usage(format!(
                    "{} is inside {covered}, which the sandbox hides behind its own empty folder; \
                     set {variable} to a folder elsewhere",
                    folder.display()
                )));
            }
        }
        let socket = self.containerd_socket();
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(Error::Usage(format!(
                "{} is too long for a unix socket ({LONGEST_SOCKET} bytes are allowed); set \
                 XDG_STATE_HOME to a shorter path",
                socket.display()
            )));
        }
        Ok(())
    }

    /// What is removed by `down`: sockets, process files, the kubelet's folder.
    pub fn run(&self) -> PathBuf {
        self.state.join("run")
    }

    /// Logs, one file per component.
    pub fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    /// The log of one component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// Certificates, keys and the components' kubeconfigs.
    pub fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    /// Rendered configuration files.
    pub fn config(&self) -> PathBuf {
        self.state.join("config")
    }

    /// The kubeconfig for the person outside the sandbox.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// The Maildir in which every mail that was sent arrives.
    pub fn maildir(&self) -> PathBuf {
        self.state.join("mail/Maildir")
    }

    /// What is known about the running sandbox; written by its init process.
    pub fn status_file(&self) -> PathBuf {
        self.run().join("status.json")
    }

    /// The ports on loopback; they are kept over `down`.
    pub fn ports_file(&self) -> PathBuf {
        self.state.join("ports.json")
    }

    /// The cluster that is used instead of one of the sandbox's own, if any.
    pub(crate) fn external_cluster_file(&self) -> PathBuf {
        self.state.join("context.json")
    }

    /// The version of Kubernetes that was chosen, if one was.
    pub(crate) fn kubernetes_version_file(&self) -> PathBuf {
        self.state.join("kubernetes.json")
    }

    /// Where `kubectl proxy` answers for the external cluster; a unix socket, so that it is reached
    /// from inside.
    pub(crate) fn api_socket(&self) -> PathBuf {
        self.run().join("api.sock")
    }

    /// Where a port inside is reached from outside by those who may not enter the sandbox's
    /// network.
    pub(crate) fn port_socket(&self, inside: u16) -> PathBuf {
        self.run().join(format!("{inside}.sock"))
    }

    /// Where Prometheus reads its targets.
    pub(crate) fn targets_file(&self) -> PathBuf {
        self.run().join("targets.json")
    }

    /// Which process supervises the sandbox.
    pub fn supervisor_file(&self) -> PathBuf {
        self.run().join("supervisor.json")
    }

    /// The socket on which the init process takes requests.
    pub fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    /// Where containerd listens.
    pub fn containerd_socket(&self) -> PathBuf {
        self.run().join("containerd.sock")
    }

    /// Where the roots of the images are put together, a folder per image.
    pub fn image_builds(&self) -> PathBuf {
        self.state.join("images")
    }

    /// The order worker's program, which also plays the payment gateway.
    pub fn gateway_program(&self) -> PathBuf {
        self.state.join("gateway/order-worker")
    }

    /// The parent folder of all pods' cgroups, relative to the cgroup hierarchy.
    pub fn cgroup(&self) -> String {
        format!("taskqueue-sandbox-{}", self.name)
    }
}

fn base(variable: &str, in_home: &str) -> Result<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from);
    if let Some(path) = set.filter(|path| path.is_absolute()) {
        return Ok(path);
    }
    match std::env::var_os("HOME") {
        Some(home) if Path::new(&home).is_absolute() => Ok(Path::new(&home).join(in_home)),
        _ => Err(Error::Usage(format!(
            "HOME is not set, so there is no place for the sandbox's files; set HOME or {variable}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(state: &str) -> Paths {
        Paths {
            name: Name::default(),
            cache: "/home/a/.cache/t".into(),
            state: state.into(),
        }
    }

    #[test]
    fn names_are_short_dns_labels() {
        for good in ["default", "a", "t-2", "abcdefghij0123456789"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "2a", "-a", "A", "a_b", "a/b", "abcdefghij01234567890"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_state_folder_that_a_mount_would_hide_is_refused() {
        assert_eq!(
            paths("/var/lib/x").check().unwrap_err().to_string(),
            "/var/lib/x is inside /var/lib, which the sandbox hides behind its own empty folder; \
             set XDG_STATE_HOME to a folder elsewhere"
        );
    }

    #[test]
    fn a_state_folder_too_deep_for_sockets_is_refused() {
        assert!(paths("/home/a/state").check().is_ok());
        assert!(paths(&format!("/home/{}", "x".repeat(80))).check().is_err());
    }
}
