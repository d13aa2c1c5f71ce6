//! Readiness probes of components. Pure: `supervisor::probe` runs them.

use std::path::PathBuf;

/// A readiness probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `GET path` on this loopback port answers with status 200.
    Http(u16, &'static str),
    /// Something accepts connections on this loopback port.
    Tcp(u16),
    /// A connection to this loopback port is greeted with this text.
    Greeting(u16, &'static str),
    /// Something accepts connections on this unix socket.
    Socket(PathBuf),
    /// This file exists.
    File(PathBuf),
    /// The command succeeds and, if a text is given, prints it.
    Command(Vec<String>, Option<&'static str>),
    /// The command prints a time (RFC 3339) that is not before the component's start, after the
    /// word `True`. A node's Ready condition outlives its kubelet in etcd, so a bare `True` would
    /// prove nothing.
    FreshTrue(Vec<String>),
}
