//! Reads Temporal for the operator: the backlog of each task queue, and what the workers report
//! about themselves. The only part that talks to Temporal, and it only reads. It knows nothing of
//! Kubernetes and decides nothing.
//!
//! ```no_run
//! # use std::{sync::Arc, time::Duration};
//! # use futures::StreamExt;
//! # use taskqueue_temporal::*;
//! # async fn run(fields: ConnectionFields, pods: Vec<LivePod>) -> Result<(), ConnectionError> {
//! let stats = Arc::new(TemporalClient::new("taskqueue-operator@pod-1"));
//! let clock = Clock::start();
//! let readers = Readers::new(stats, Arc::new(NoObserver), ReadersConfig::default(), clock);
//!
//! // In every pass over an object: say what is to be read, take what was read.
//! let owner = OwnerKey { namespace: "shop".to_owned(), name: "orders".to_owned() };
//! let connection = ResolvedConnection::new(fields)?;
//! readers.watch(&owner, &connection, &[QueueWatch {
//!     queue: "payments".to_owned(),
//!     task_queue: "payments".to_owned(),
//!     task_types: Vec::new(),
//!     generation: 1,
//!     polling_interval: Duration::from_secs(5),
//!     quiet_polling_interval: Duration::from_secs(30),
//!     queue_wait_target: Duration::from_secs(5),
//!     has_replicas: !pods.is_empty(),
//! }]);
//! let reading = readers.reading(&owner, "payments");
//! let slots = slots(&reading.workers, &pods, "payments", readers.clock().now());
//!
//! // When to make the next pass.
//! let mut updates = std::pin::pin!(readers.updates());
//! while let Some(owner) = updates.next().await {
//!     println!("something new about {owner}");
//! }
//! # Ok(()) }
//! ```
//!
//! | module | purpose | I/O |
//! | --- | --- | --- |
//! | `connection` | checked addresses and credentials; ids of credentials | no |
//! | `pem` | extracts certificates and keys from PEM, and classifies what is wrong with it | no |
//! | `certificate` | when certificates expire | no |
//! | `call` | the interface to Temporal: calls, answers and failures as plain data | no |
//! | `client`, `wire` | that interface over the network, with the official client | yes |
//! | `fault` | why a connection failed | no |
//! | `probe`, `tunnel` | which protocol a server speaks; whether a proxy opens a tunnel | yes |
//! | `tunnel_fault` | what is wrong if it does not | no |
//! | `subscription`, `slots` | what callers request and receive; workers joined with pods | no |
//! | `pool`, `reader` | the tasks that read | through `call` |
//! | `budget`, `call_budget`, `schedule`, `circuit_breaker` | which call may be made when | no |
//! | `queue`, `credential`, `heartbeats` | what an answer means; when to read next | no |
//! | `readings`, `clock`, `observer` | the store of readings; the time; the cost of reading | no |

mod backoff;
mod budget;
mod call;
mod call_budget;
mod certificate;
mod circuit_breaker;
mod client;
mod clock;
mod connection;
mod credential;
mod fault;
mod heartbeats;
mod observer;
mod panics;
mod pem;
mod pool;
mod probe;
mod queue;
mod reader;
mod readings;
mod schedule;
mod slots;
mod subscription;
mod tunnel;
mod tunnel_fault;
mod wire;

pub use budget::{Budget, BudgetLimits};
pub use call::{
    CallError, CallErrorKind, Described, Heartbeat, ListedWorker, Method, QueueStats, WorkerStatus,
    WorkersPage,
};
pub use call_budget::{PerSource, Source};
pub use certificate::{CertificateUse, Expiry, expiries};
pub use client::TemporalClient;
pub use clock::Clock;
pub use connection::{
    ApiKeyError, ClientCertificate, ConnectionError, ConnectionFields, CredentialId, Proxy,
    ProxyCredentialError, ProxyCredentials, ResolvedConnection, Secret, SecretPart,
    ServerNamespace, Tls,
};
pub use fault::Fault;
pub use observer::{BudgetReading, NoObserver, Observer, SourceReading};
pub use panics::panic_text;
pub use pem::{Block, KeyType, PemError};
pub use pool::Readers;
pub use reader::config::ReadersConfig;
pub use slots::{LivePod, slots};
pub use subscription::{CallFailure, OwnerKey, QueueReading, QueueWatch, WorkerReport};
