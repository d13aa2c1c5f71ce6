//! The program on a pseudo-terminal, and what is on its screen. Starts a process, and a thread that
//! reads what it writes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::ops::Deref;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;

use crate::server::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-tqw");
/// How long a condition may take to become true.
const TIMEOUT: Duration = Duration::from_secs(30);
const COLUMNS: u16 = 150;

/// Counts the bells.
#[derive(Default)]
struct Bells(usize);

impl vt100::Callbacks for Bells {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.0 += 1;
    }
}

/// What is seen on the screen.
pub(crate) struct Seen(vt100::Parser<Bells>);

impl Seen {
    /// Whether it is a screen of the program's own.
    pub(crate) fn is_own(&self) -> bool {
        self.0.screen().alternate_screen()
    }

    /// A line, from 0.
    pub(crate) fn row(&self, number: usize) -> String {
        self.text()
            .lines()
            .nth(number)
            .unwrap_or_default()
            .to_owned()
    }

    /// All lines.
    pub(crate) fn text(&self) -> String {
        self.0.screen().contents()
    }

    /// Whether this text in a line is colored.
    pub(crate) fn is_colored(&self, row: u16, text: &str) -> bool {
        let line = self.row(row.into());
        let at = line
            .find(text)
            .unwrap_or_else(|| panic!("{text} in {line}"));
        let cell = self.0.screen().cell(row, u16::try_from(at).unwrap());
        cell.unwrap().fgcolor() != vt100::Color::Default
    }
}

/// The program and its terminal.
pub(crate) struct Screen {
    seen: Seen,
    terminal: File,
    /// Keeps the terminal open when the program has ended.
    other_end: File,
    modes: LocalModes,
    child: Child,
    written: Receiver<Vec<u8>>,
    _kubeconfig: tempfile::TempDir,
}

impl Deref for Screen {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

impl Screen {
    /// Starts `top` on a terminal with this many lines, and with these variables.
    pub(crate) fn start(server: &Server, rows: u16, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {
                "cluster": "c", "user": "u", "namespace": "shop",
            }}],
            "clusters": [{"name": "c", "cluster": {"server": server.url}}],
            "users": [{"name": "u", "user": {}}],
        });
        std::fs::write(&kubeconfig, content.to_string()).unwrap();

        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        tcsetwinsize(&terminal, size(rows)).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other_end = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let other_end = File::from(other_end);
        let modes = tcgetattr(&other_end).unwrap().local_modes;

        // In a session of its own without a controlling terminal: the size and the keys of the
        // terminal in which the tests run, if they run in one, must not count.
        let child = Command::new("setsid")
            .args([PROGRAM, "top", "--interval", "1s"])
            .args(["--metrics", &server.url])
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(other_end.try_clone().unwrap())
            .stdout(other_end.try_clone().unwrap())
            .stderr(other_end.try_clone().unwrap())
            .spawn()
            .expect("needs setsid of util-linux");
        let terminal = File::from(terminal);
        let mut reader = terminal.try_clone().unwrap();
        let (sender, written) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            seen: Seen(parser(rows)),
            terminal,
            other_end,
            modes,
            child,
            written,
            _kubeconfig: folder,
        }
    }

    /// Waits until the screen is as it should be.
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !is(&self.seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.written.recv_timeout(left) {
                Ok(bytes) => self.seen.0.process(&bytes),
                Err(error) => panic!("{what}: {error}:\n{}", self.text()),
            }
        }
    }

    /// Types these bytes.
    pub(crate) fn press(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the number of lines of the terminal.
    pub(crate) fn resize(&mut self, rows: u16) {
        let [lines, columns] = [rows, COLUMNS].map(|number| NonZeroU16::new(number).unwrap());
        self.seen.0.set_size(lines, columns);
        tcsetwinsize(&self.terminal, size(rows)).unwrap();
        // The kernel sends it only to who has a controlling terminal.
        self.kill(Signal::WINCH);
    }

    /// Sends a signal to the program.
    pub(crate) fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the program, and returns its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it runs on:\n{}", self.text());
            // What it writes must be read, or it waits.
            if let Ok(bytes) = self.written.recv_timeout(Duration::from_millis(20)) {
                self.seen.0.process(&bytes);
            }
        };
        // What the program wrote last may be on the way; the bell comes behind it.
        self.other_end.write_all(b"\x07").unwrap();
        self.until("the bell rings", |seen| seen.0.callbacks().0 > 0);
        status.code()
    }

    /// That the terminal is as it was before the program started.
    pub(crate) fn assert_restored(&self) {
        let screen = self.seen.0.screen();
        assert!(
            !screen.alternate_screen() && !screen.hide_cursor(),
            "{}",
            self.text()
        );
        let modes = tcgetattr(&self.other_end).unwrap().local_modes;
        assert_eq!(modes, self.modes);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn parser(rows: u16) -> vt100::Parser<Bells> {
    let [rows, columns] = [rows, COLUMNS].map(|number| NonZeroU16::new(number).unwrap());
    vt100::Parser::new_with_callbacks(rows, columns, 0, Bells::default())
}

fn size(rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
