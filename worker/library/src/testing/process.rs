//! The process of a worker.

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::wait::eventually;
use crate::loopback;

/// The process of a worker.
pub struct WorkerProcess {
    child: std::process::Child,
    log: PathBuf,
    http: Option<SocketAddr>,
}

impl WorkerProcess {
    /// Starts a program with only these variables and waits until it serves HTTP. It logs to the
    /// file `log`.
    pub async fn start<K, V>(
        program: &Path,
        log: PathBuf,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(program)
            .env_clear()
            .env("TASKQUEUE_WORKER_HTTP_ADDRESS", "127.0.0.1:0")
            .env("TASKQUEUE_WORKER_LOG_FORMAT", "json")
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut worker = Self {
            child,
            log,
            http: None,
        };
        let address = eventually("the worker serves HTTP", async || worker.http_address()).await;
        worker.http = Some(address);
        worker
    }

    fn http_address(&mut self) -> Option<SocketAddr> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the worker ended with {status}:\n{}", self.log());
        }
        let log = self.log();
        let line = log.lines().find(|line| line.contains("serving /livez"))?;
        let (_, address) = line.split_once("\"address\":\"")?;
        address.split('"').next()?.parse().ok()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The status code of a path of its HTTP endpoint; 0 without an answer.
    pub async fn status(&self, path: &str) -> u16 {
        let answer = loopback::get(self.http.unwrap(), path).await;
        answer.map_or(0, |(status, _)| status)
    }

    /// Its metrics, in Prometheus's text format.
    pub async fn metrics(&self) -> String {
        loopback::get(self.http.unwrap(), "/metrics")
            .await
            .unwrap()
            .1
    }

    /// Waits until it is ready.
    pub async fn wait_ready(self) -> Self {
        eventually("the worker is ready", async || {
            (self.status("/readyz").await == 200).then_some(())
        })
        .await;
        self
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal, named as `kill` does: `-TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(name)
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the worker ends", async || self.child.try_wait().unwrap()).await
    }

    /// Waits until its log contains these words.
    pub async fn says(&self, words: &str) {
        eventually(&format!("its log says: {words}"), async || {
            self.log().contains(words).then_some(())
        })
        .await;
    }

    /// Sends SIGTERM and checks that the exit code is 0. Returns the log.
    pub async fn drain(mut self) -> String {
        self.signal("-TERM");
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut stderr = std::io::stderr();
            let _unprinted = writeln!(stderr, "the worker's log:\n{}", self.log());
        }
        // Usually it has already ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
