//! Reaps every process whose parent is the init process: its own children, and orphans inside the
//! sandbox (containers' shims). The only place that waits for a child.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

/// How a child ended, in words.
pub(super) type Ending = String;

/// Starts children and records how they end.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    children: Mutex<HashMap<i32, Option<Ending>>>,
    changed: Condvar,
}

impl Reaper {
    /// Starts reaping.
    pub(super) fn start() -> Arc<Self> {
        let reaper = Arc::new(Self::default());
        let worker = Arc::clone(&reaper);
        thread::spawn(move || {
            loop {
                worker.reap();
            }
        });
        reaper
    }

    fn reap(&self) {
        // Look without reaping first. A child that fails to start is reaped by the standard library
        // within `spawn`, which holds the lock; so nothing is taken away from it.
        let seen =
            rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        if seen.is_err() {
            // No child at the moment.
            thread::sleep(Duration::from_millis(20));
            return;
        }
        let mut children = self.children.lock();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(ending) = children.get_mut(&pid.as_raw_nonzero().get()) {
                *ending = Some(in_words(status));
            }
        }
        drop(children);
        self.changed.notify_all();
    }

    /// Starts a child.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<i32> {
        let mut children = self.children.lock();
        let child = command.stdin(Stdio::null()).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        children.insert(pid, None);
        Ok(pid)
    }

    /// Waits for a child's end; `None` if it has not come by then.
    pub(super) fn wait(&self, pid: i32, deadline: Option<Instant>) -> Option<Ending> {
        let mut children = self.children.lock();
        loop {
            match children.get(&pid) {
                Some(None) => {}
                Some(Some(_)) => return children.remove(&pid).flatten(),
                None => return Some("it is not a child of the init process".into()),
            }
            match deadline {
                None => self.changed.wait(&mut children),
                Some(deadline) if Instant::now() >= deadline => return None,
                Some(deadline) => {
                    self.changed.wait_until(&mut children, deadline);
                }
            }
        }
    }

    /// Whether a child has ended already.
    pub(super) fn has_ended(&self, pid: i32) -> bool {
        self.children.lock().get(&pid).is_none_or(Option::is_some)
    }

    /// Runs a command to its end and returns what it printed, or how it failed.
    pub(super) fn output(
        &self,
        command: &mut Command,
        timeout: Duration,
        scratch: &Path,
    ) -> Result<String, String> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = scratch.join(format!("output-{number}"));
        let result = self.output_to(command, timeout, &file);
        // A file that stays behind is removed with the run folder.
        drop(fs::remove_file(&file));
        result
    }

    fn output_to(
        &self,
        command: &mut Command,
        timeout: Duration,
        file: &Path,
    ) -> Result<String, String> {
        let name = crate::run::describe(command);
        let out = File::create(file).map_err(|error| error.to_string())?;
        let errors = out.try_clone().map_err(|error| error.to_string())?;
        let pid = self
            .spawn(command.stdout(out).stderr(errors))
            .map_err(|error| format!("{name}: {error}"))?;
        let ending = self.wait(pid, Some(Instant::now() + timeout));
        let printed = fs::read(file)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        match ending.as_deref() {
            Some("status 0") => Ok(printed),
            Some(ending) => Err(format!(
                "{name}: it ended with {ending}: {}",
                printed.trim()
            )),
            None => {
                kill(pid, Signal::KILL);
                self.wait(pid, None);
                Err(format!(
                    "{name}: still running after {} s: {}",
                    timeout.as_secs(),
                    printed.trim()
                ))
            }
        }
    }
}

/// Sends a signal. A process that has already ended is no error.
pub(super) fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        rustix::process::kill_process(pid, signal).ok();
    }
}

fn in_words(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".into(),
    }
}
