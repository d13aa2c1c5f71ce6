//! Sends control requests to a running sandbox: one line of JSON each way over a unix socket.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Result};

/// An action on a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Stop it; it stays stopped.
    Stop,
    /// Start it and wait until it is ready.
    Start,
    /// Stop it, start it, and wait until it is ready.
    Restart,
    /// Kill it (SIGKILL), like a crash; it is restarted.
    Kill,
    /// Freeze it (SIGSTOP): connections stay open, but nothing answers.
    Pause,
    /// Resume a frozen component.
    Resume,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// End the sandbox.
    End,
    /// Do something with one component.
    Component {
        /// Its name.
        name: String,
        /// What to do.
        action: Action,
        /// Extra arguments, used until the next requested start.
        #[serde(default)]
        arguments: Vec<String>,
    },
}

/// The response: nothing, or what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) error: Option<String>,
}

/// Sends a request and waits until it has been carried out.
pub(crate) fn send(socket: &Path, request: &Request, timeout: Duration) -> Result<()> {
    let what = || format!("asking the sandbox at {}", socket.display());
    let mut stream = UnixStream::connect(socket).attempt(what)?;
    stream.set_read_timeout(Some(timeout)).attempt(what)?;
    let json = |source| Error::Json {
        what: "the sandbox's answer".into(),
        source,
    };
    let mut line = serde_json::to_vec(request).map_err(json)?;
    line.push(b'\n');
    stream.write_all(&line).attempt(what)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .attempt(what)?;
    let response: Response = serde_json::from_str(&answer).map_err(json)?;
    response.error.map_or(Ok(()), |why| Err(Error::Usage(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_readable_line() {
        let request = Request::Component {
            name: "temporal".into(),
            action: Action::Stop,
            arguments: Vec::new(),
        };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(
            line,
            r#"{"component":{"name":"temporal","action":"stop","arguments":[]}}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
    }
}
