//! The program as a person calls it: with variables of the environment, and as a plugin of kubectl.
//! Runs it against servers on loopback that answer one thing each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests panic freely"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-tqw");
const PASSWORD: &str = "a-password-that-nobody-may-see";
const NO_FLEETS: &str = r#"{"apiVersion": "taskqueue.dev/v1alpha1", "metadata": {}, "items": [],
    "kind": "TaskQueueWorkerList"}"#;

/// Answers every connection once; also the first lines of the requests.
fn server(status: &'static str, body: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, requests) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                head.extend(byte);
            }
            let line = String::from_utf8(head).unwrap();
            let line = line.lines().next().unwrap_or_default().to_owned();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).ok();
            asked.send(line).ok();
        }
    });
    (address, requests)
}

/// Runs `top` for an API server with these variables only. What it prints, without the port of
/// `known`.
fn top(folder: &Path, server: &str, variables: &[(&str, &str)], known: &str) -> String {
    let kubeconfig = folder.join("kubeconfig");
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(&kubeconfig, content.to_string()).unwrap();
    let output = Command::new(PROGRAM)
        .env_clear()
        .envs(variables.iter().copied())
        .arg("top")
        .arg("--once")
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .output();
    printed(&output.unwrap()).replace(known, "PROXY")
}

fn printed(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(all).unwrap()
}

#[test]
fn the_proxy_of_the_environment_is_used_but_not_for_this_host_and_for_no_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let (proxy, requests) = server("407 Proxy Authentication Required", "");
    let url = format!("http://user:{PASSWORD}@{proxy}");
    let refused = top(
        folder.path(),
        "https://api.invalid:6443",
        &[("HTTPS_PROXY", &url)],
        &proxy,
    );
    assert_eq!(
        refused,
        "Error: cannot list the fleets in namespace default: the proxy PROXY requires another user \
         name and password (HTTP 407); write them into its URL, http://USER:PASSWORD@HOST:PORT, in \
         proxy-url of the kubeconfig or HTTPS_PROXY\n"
    );
    let asked: Vec<String> = requests.try_iter().collect();
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|line| line == "CONNECT api.invalid:6443 HTTP/1.1"),
        "{asked:?}"
    );
    let (api, _) = server("200 OK", NO_FLEETS);
    let own = top(
        folder.path(),
        &format!("http://{api}"),
        &[("HTTP_PROXY", &url), ("HTTPS_PROXY", &url)],
        &proxy,
    );
    assert_eq!(own, "There are no fleets in namespace default.\n");
    let excluded = top(
        folder.path(),
        "https://api.invalid:6443",
        &[("https_proxy", &url), ("no_proxy", ".invalid")],
        &proxy,
    );
    assert!(
        excluded.starts_with("Error: cannot list the fleets in namespace default: "),
        "{excluded}"
    );
    assert_eq!(requests.try_iter().collect::<Vec<_>>(), [""; 0]);
    let unusable = format!("socks5://user:{PASSWORD}@{proxy}");
    let unusable = top(
        folder.path(),
        "https://api.invalid:6443",
        &[("ALL_PROXY", &unusable)],
        &proxy,
    );
    assert!(unusable.contains("must be an HTTP proxy"), "{unusable}");
    for text in [refused, excluded, unusable] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn kubectl_completes_the_commands_and_the_flags_of_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-tqw");
    symlink(PROGRAM, &plugin).unwrap();
    let completer = folder.path().join("kubectl_complete-tqw");
    let script = Command::new(&plugin)
        .args(["completion", "kubectl"])
        .output()
        .unwrap();
    std::fs::write(&completer, script.stdout).unwrap();
    std::fs::set_permissions(&completer, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", folder.path().display());
    let complete = |words: &[&str]| {
        let output = Command::new(&completer)
            .env("PATH", &path)
            .args(words)
            .output()
            .expect("needs bash");
        printed(&output)
    };
    assert_eq!(complete(&["exp"]), "explain\n");
    assert_eq!(complete(&["top", "--cont"]), "--context\n");
    assert_eq!(complete(&["top", "--sort", ""]), "name\nbacklog\nwait\n");
    assert_eq!(complete(&["check", "-o", "js"]), "json\n");
    let all = complete(&["explain", ""]);
    assert!(!all.contains('<') && all.contains("--watch\n"), "{all}");
}

#[test]
fn every_shell_gets_a_script_for_the_program() {
    for (shell, begins) in [
        ("bash", "_kubectl-tqw() {"),
        ("zsh", "#compdef kubectl-tqw"),
        ("fish", "# Print an optspec"),
        ("powershell", "\nusing namespace"),
    ] {
        let output = Command::new(PROGRAM).args(["completion", shell]).output();
        let script = printed(&output.unwrap());
        assert!(script.starts_with(begins), "{shell}: {script}");
        assert!(script.contains("request-timeout"), "{shell}: {script}");
    }
}
