//! The object that a fleet refers to for its connection, of either kind, as the caches hold it.
//! Plain data.

use kube::Resource as _;
use kube::core::ObjectMeta;
use taskqueue_api::{
    Connection, ConnectionKind, ConnectionReference, ConnectionSource, GuardedClusterConnection,
    GuardedConnection, Reason, TemporalConnectionSpec, TemporalConnectionStatus, validate,
};

use crate::not_ready::NotReady;

/// A `TemporalConnection` or a `ClusterTemporalConnection`.
pub struct ConnectionObject<'a> {
    kind: ConnectionKind,
    /// Its metadata.
    pub metadata: &'a ObjectMeta,
    /// Its content, or why it is malformed.
    content: Result<Content<'a>, &'a str>,
}

struct Content<'a> {
    spec: &'a TemporalConnectionSpec,
    status: Option<&'a TemporalConnectionStatus>,
    /// The namespaces whose fleets may use it; `None` = its own.
    namespaces: Option<&'a [String]>,
}

impl<'a> From<&'a GuardedConnection> for ConnectionObject<'a> {
    fn from(object: &'a GuardedConnection) -> Self {
        let content = object.0.as_ref().map(|connection| Content {
            spec: &connection.spec,
            status: connection.status.as_ref(),
            namespaces: None,
        });
        Self {
            kind: ConnectionKind::TemporalConnection,
            metadata: object.meta(),
            content: content.map_err(|malformed| malformed.error.as_str()),
        }
    }
}

impl<'a> From<&'a GuardedClusterConnection> for ConnectionObject<'a> {
    fn from(object: &'a GuardedClusterConnection) -> Self {
        let content = object.0.as_ref().map(|connection| Content {
            spec: &connection.spec.connection,
            status: connection.status.as_ref(),
            namespaces: Some(&connection.spec.namespaces),
        });
        Self {
            kind: ConnectionKind::ClusterTemporalConnection,
            metadata: object.meta(),
            content: content.map_err(|malformed| malformed.error.as_str()),
        }
    }
}

impl ConnectionObject<'_> {
    /// Its kind and name.
    pub fn reference(&self) -> ConnectionReference {
        ConnectionReference {
            kind: self.kind,
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Its namespace; `None` for a `ClusterTemporalConnection`.
    pub fn namespace(&self) -> Option<&str> {
        self.metadata.namespace.as_deref()
    }

    /// Its status, if it has one and can be read.
    pub fn status(&self) -> Option<&TemporalConnectionStatus> {
        self.content.as_ref().ok()?.status
    }

    /// What it describes, without the values of its Secrets.
    ///
    /// # Errors
    /// If it is malformed or invalid.
    pub fn connection(&self) -> Result<Connection, NotReady> {
        let source = ConnectionSource::Reference(self.reference());
        let content = self.content.as_ref().map_err(|why| invalid(&source, why))?;
        validate::connection(content.spec, "spec").map_err(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            invalid(&source, &all.join("; "))
        })
    }

    /// What it describes for the fleets of a namespace.
    ///
    /// # Errors
    /// If they may not use it, or if it is malformed or invalid.
    pub fn connection_for(&self, namespace: &str) -> Result<Connection, NotReady> {
        let listed = self.content.as_ref().ok().and_then(|all| all.namespaces);
        if listed.is_some_and(|listed| !listed.iter().any(|name| name == namespace)) {
            return Err(NotReady::new(
                Reason::ConnectionNotAllowed,
                format!(
                    "{} does not list namespace {namespace}; ask whoever maintains it to add the \
                     namespace to its spec.namespaces, or correct connectionRef",
                    self.reference()
                ),
            ));
        }
        self.connection()
    }
}

/// The not-ready reason for a connection that is wrong in the spec or in an object.
pub(super) fn invalid(source: &ConnectionSource, why: &str) -> NotReady {
    match source {
        ConnectionSource::Inline(_) => {
            NotReady::new(Reason::InvalidSpec, format!("spec.connection: {why}"))
        }
        ConnectionSource::Reference(to) => {
            NotReady::new(Reason::ConnectionInvalid, format!("{to}: {why}"))
        }
    }
}
