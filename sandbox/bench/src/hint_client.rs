//! Sends wake-up hints to the operator. Starts `kubectl port-forward`, because this machine is not
//! in the cluster's network.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Stdio},
};

use serde_json::{Value, json};
use ureq::Agent;

use crate::error::{Error, Result};
use sandbox_machine::{Attempt, OPERATOR_NAMESPACE, Sandbox, clients::http, run};

/// The port on which the chart lets the operator take hints.
const PORT: u16 = 8081;
/// The audience that a sender's token must be made for.
const AUDIENCE: &str = "taskqueue.dev";

/// A client of the hint port of the operator's present leader.
#[derive(Debug)]
pub struct HintClient {
    child: Child,
    /// kubectl prints a line per connection, and would end if the pipe were closed.
    output: Option<BufReader<ChildStdout>>,
    address: String,
}

impl HintClient {
    /// Opens it. The chart must have been installed with `hints.enabled=true`.
    pub fn open(sandbox: &Sandbox) -> Result<Self> {
        let what = "kubectl port-forward to the operator's hint port";
        let mut child = sandbox
            .kubectl()
            .args(["--namespace", OPERATOR_NAMESPACE, "port-forward"])
            .args([
                format!("pod/{}", sandbox.operator_pod()?),
                format!(":{PORT}"),
                "--address=127.0.0.1".to_owned(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .attempt(|| format!("starting {what}"))?;
        let mut client = Self {
            output: child.stdout.take().map(BufReader::new),
            child,
            address: String::new(),
        };
        let mut line = String::new();
        if let Some(output) = &mut client.output {
            output
                .read_line(&mut line)
                .attempt(|| format!("reading the output of {what}"))?;
        }
        // "Forwarding from 127.0.0.1:40321 -> 8081"
        let address = line.split(' ').find(|word| word.starts_with("127.0.0.1:"));
        address.unwrap_or_default().clone_into(&mut client.address);
        if client.address.is_empty() {
            let hint = "is the operator installed with the chart's value hints.enabled=true?";
            return Err(Error::source(what, format!("{line:?}; {hint}")));
        }
        Ok(client)
    }

    /// A connection on which one hint can be sent at once.
    pub fn connect(&self) -> Result<HintConnection> {
        HintConnection::open(&self.address)
    }
}

impl Drop for HintClient {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A connection for one hint.
#[derive(Debug)]
pub struct HintConnection {
    agent: Agent,
    url: String,
}

impl HintConnection {
    fn open(address: &str) -> Result<Self> {
        let agent = http::config().build().new_agent();
        let url = format!("http://{address}");
        // Any answer will do: it leaves an open connection behind.
        http::text(agent.get(&url).call())
            .map_err(|error| Error::source(&url, error.to_string()))?;
        Ok(Self { agent, url })
    }

    /// Sends a hint about a queue of a fleet, with this token if there is one. Returns the status
    /// of the answer, 202 if the hint was taken, and its text.
    pub fn send(self, token: Option<&str>, target: &Target<'_>) -> Result<(u16, String)> {
        let Target {
            namespace,
            fleet,
            queue,
        } = target;
        let url = format!("{}/hints/{namespace}/{fleet}/{queue}", self.url);
        let mut request = self.agent.post(&url);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = http::text(request.send_empty());
        answer.map_err(|error| Error::source(&url, error.to_string()))
    }
}

/// What a hint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The namespace of the fleet.
    pub namespace: &'a str,
    /// The name of the `TaskQueueWorker`.
    pub fleet: &'a str,
    /// The name of the queue in its spec.
    pub queue: &'a str,
}

/// A ServiceAccount of this name and the right to send hints for every fleet of the namespace.
pub fn sender(namespace: &str, name: &str) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    let group = "rbac.authorization.k8s.io";
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata,
            "rules": [{
                "apiGroups": ["taskqueue.dev"], "resources": ["taskqueueworkers/hint"],
                "verbs": ["update"],
            }],
        },
        {
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]})
}

/// A token of a ServiceAccount, good for hints and nothing else.
pub fn token(sandbox: &Sandbox, namespace: &str, account: &str) -> Result<String> {
    let mut kubectl = sandbox.kubectl();
    kubectl
        .args(["--namespace", namespace, "create", "token", account])
        .arg(format!("--audience={AUDIENCE}"));
    Ok(run::output(&mut kubectl)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread};

    use super::*;

    #[test]
    fn a_hint_is_sent_on_the_connection_that_was_opened_before() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            ["404 Not Found", "202 Accepted"].map(|status| {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    let read = reader.read_line(&mut head).unwrap();
                    assert_ne!(read, 0, "the connection was closed");
                }
                write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").unwrap();
                head.to_lowercase()
            })
        });
        let connection = HintConnection::open(&address).unwrap();
        let target = Target {
            namespace: "shop",
            fleet: "orders",
            queue: "payments",
        };
        let answer = connection.send(Some("secret"), &target).unwrap();
        assert_eq!(answer, (202, "ok".to_owned()));
        let [first, hint] = server.join().unwrap();
        assert!(first.starts_with("get / http/1.1\r\n"), "{first}");
        assert!(
            hint.starts_with("post /hints/shop/orders/payments http/1.1\r\n"),
            "{hint}"
        );
        assert!(
            hint.contains("\r\nauthorization: bearer secret\r\n"),
            "{hint}"
        );
    }
}
