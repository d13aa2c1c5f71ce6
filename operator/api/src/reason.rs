//! The closed vocabulary of conditions and their reasons, shared by conditions, Events and metrics.
//! Pure.
//!
//! A reason is API: it never changes its meaning. `docs/operating/conditions.md` has the same
//! table.

use taskqueue_scaling as scaling;

/// A condition of a `TaskQueueWorker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The spec is accepted, everything is applied, and every queue that should have replicas has
    /// at least one available.
    Ready,
    /// A rollout is under way.
    Progressing,
    /// The operator knows the demand of every queue and acts on it.
    ScalingActive,
    /// A limit keeps the replicas of some queue from what its demand requires.
    ScalingLimited,
    /// The current generation is not fully rolled out yet.
    Reconciling,
    /// A problem needs a person's attention.
    Stalled,
    /// A certificate of the connection expires soon, or has expired.
    CertificateExpiring,
}

impl ConditionType {
    /// All of them, in the order of the status.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Progressing,
        Self::ScalingActive,
        Self::ScalingLimited,
        Self::Reconciling,
        Self::Stalled,
        Self::CertificateExpiring,
    ];

    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::ScalingActive => "ScalingActive",
            Self::ScalingLimited => "ScalingLimited",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::CertificateExpiring => "CertificateExpiring",
        }
    }

    /// One line on what the condition means when it is True.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Ready => {
                "the spec is accepted, everything is applied, and every queue that should have \
                 replicas has at least one available"
            }
            Self::Progressing => "a rollout is under way",
            Self::ScalingActive => "the operator knows the demand of every queue and acts on it",
            Self::ScalingLimited => {
                "a limit keeps some queue from the number of replicas that its demand asks for"
            }
            Self::Reconciling => {
                "a template is being written, or some replica does not run it yet or has not been \
                 available with it"
            }
            Self::Stalled => {
                "the fleet makes no progress until a person fixes what the message names; \
                 Reconciling is False then"
            }
            Self::CertificateExpiring => {
                "a certificate of the connection expires soon or has expired; absent if the \
                 connection has no certificates"
            }
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition has its status, in one word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
            /// A limit or a reason of the scaling decision; it has a vocabulary of its own.
            Scaling(scaling::Reason),
        }

        impl Reason {
            /// All reasons of this list, without those of [`scaling::Reason`].
            pub const OWN: &[Self] = &[$(Self::$name),+];

            /// The word used in conditions, Events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                    Self::Scaling(reason) => reason.as_str(),
                }
            }

            /// One line that explains the reason, as in the documentation.
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                    Self::Scaling(reason) => reason.describe(),
                }
            }
        }
    };
}

reasons! {
    /// Ready: everything is applied, and every queue that should have replicas has at least one
    /// available.
    Available,
    /// Ready is false: some queue should have replicas, but none is available yet.
    WaitingForReplicas,
    /// Ready is false: the spec is invalid in a way that the API server cannot detect; nothing was
    /// changed.
    InvalidSpec,
    /// Ready is false: a Secret that the connection names does not exist or lacks the key.
    SecretNotFound,
    /// Ready is false: the operator cannot read a Secret that the connection names; it tries again.
    SecretUnavailable,
    /// Ready is false: a Secret that the connection names has invalid content; the message says
    /// what is wrong.
    SecretInvalid,
    /// Ready is false: a ConfigMap that the connection names does not exist or lacks the key.
    ConfigMapNotFound,
    /// Ready is false: the operator cannot read a ConfigMap that the connection names; it tries
    /// again.
    ConfigMapUnavailable,
    /// Ready is false: a ConfigMap that the connection names has invalid content; the message says
    /// what is wrong.
    ConfigMapInvalid,
    /// Ready is false: the connection that connectionRef names does not exist.
    ConnectionNotFound,
    /// Ready is false: the connection that connectionRef names is invalid.
    ConnectionInvalid,
    /// Ready is false: the ClusterTemporalConnection that connectionRef names does not list the
    /// namespace of the fleet; the workers stay as they are.
    ConnectionNotAllowed,
    /// Ready of a connection: it is valid, and so is what the operator reads of it; whether
    /// Temporal answers is in ScalingActive of its fleets.
    ConnectionValid,
    /// Ready is false: for a minute Temporal has not answered over the new connection; the workers
    /// keep their current one.
    ConnectionUntried,
    /// Ready is false: an object with the name that the operator needs exists and belongs to
    /// somebody else.
    NameConflict,
    /// Ready or ScalingActive is false: an older fleet serves the same task queue; this fleet
    /// leaves its queue unchanged.
    QueueConflict,
    /// Ready is false: the workload that scaleTargetRef names cannot be scaled: it or its kind does
    /// not exist, or it has no scale subresource with a selector.
    TargetNotFound,
    /// Ready or ScalingActive is false: something else scales the same workload; the message names
    /// it. A workload that scaleTargetRef names is left unchanged.
    ScalerConflict,
    /// Ready is false: the API server, an admission rule or a quota refused an object; the message
    /// quotes the refusal.
    ApplyFailed,
    /// Ready is false: the operator lacks a permission in Kubernetes; the message names it.
    Forbidden,
    /// Ready is false: for a minute the API server could not call a required admission webhook; the
    /// message names it.
    WebhookUnavailable,
    /// Ready is false: for a minute the API server has not answered, or has answered with a server
    /// error.
    ApiServerUnavailable,
    /// Ready is false: for a minute the API server has asked the operator to slow down.
    Throttled,
    /// Ready is false: for a minute somebody else has changed or deleted an object before each
    /// write of the operator.
    Conflict,
    /// Ready is false: the image of a container cannot be pulled.
    ImagePullFailed,
    /// Ready is false: containers of the workers exit with errors or crash in a loop.
    PodsFailing,
    /// Ready is false: pods fit on no node.
    PodsUnschedulable,
    /// Ready is false: a quota or an admission rule refuses the pods.
    PodsRefused,
    /// An invariant inside the operator is broken; please report it with the message.
    InternalError,
    /// Progressing or Reconciling: pods of a new template start or replace old ones.
    RollingOut,
    /// Progressing is false: no rollout is under way.
    RolledOut,
    /// Progressing is false: a rollout makes no progress; the message says which.
    RolloutStalled,
    /// Progressing is false: somebody paused the rollout of a Deployment with kubectl, so pods of
    /// the old template stay.
    RolloutPaused,
    /// Reconciling is false: every replica runs the current template.
    Reconciled,
    /// Stalled is false: nothing needs a person.
    NotStalled,
    /// ScalingActive: the operator knows the demand of every queue and acts on it.
    Active,
    /// ScalingActive is unknown: the operator has no readings yet.
    Starting,
    /// ScalingActive is unknown: Temporal does not answer; the replicas stay as they are.
    TemporalUnavailable,
    /// ScalingActive is false: Temporal refuses the credential; the replicas stay as they are.
    TemporalAccessDenied,
    /// ScalingActive is false: the Temporal namespace does not exist; the replicas stay as they
    /// are.
    TemporalNamespaceNotFound,
    /// ScalingActive is unknown: the operator cannot read the backlog of some queue; its replicas
    /// stay as they are.
    BacklogUnknown,
    /// ScalingActive is true with a warning: the workers of some queue do not report task slots, so
    /// the queue never goes to zero.
    SlotsUnknown,
    /// ScalingActive is false: pods are ready, but Temporal sees neither a poller nor
    /// a heartbeat from them.
    NotPolling,
    /// ScalingActive is false: tasks of a type wait in some queue and its pods are ready, but
    /// nobody polls for that type.
    QueueNotPolled,
    /// ScalingActive is false: tasks wait in some queue for one Worker Deployment version, but its
    /// workers have another.
    VersionNotCurrent,
    /// ScalingActive is false: the backlog of some queue grows although its workers have free
    /// slots.
    BacklogGrowsWithFreeSlots,
    /// ScalingActive is true with a warning, or an Event: queueWaitTarget is shorter than the time
    /// that a start from zero replicas takes.
    WaitTargetTooShort,
    /// ScalingActive is false: mode is Paused.
    Paused,
    /// ScalingActive is false: mode is DryRun; decisions are reported but not carried out.
    DryRun,
    /// ScalingLimited is false: every queue has the replicas that its demand asks for.
    NotLimited,
    /// CertificateExpiring: a certificate of the connection expires soon; the message says which
    /// and when.
    ExpiresSoon,
    /// CertificateExpiring: a certificate of the connection has expired; the message says which and
    /// when.
    Expired,
    /// CertificateExpiring is false: no certificate of the connection expires soon.
    CertificatesValid,
    /// Event: replicas were added.
    ScaledUp,
    /// Event: replicas were removed.
    ScaledDown,
    /// Event: somebody else changed the replicas of a managed Deployment; the operator reset them.
    ReplicasReset,
    /// Event: somebody deleted a managed Deployment; the operator created it again.
    DeploymentRecreated,
    /// Event: a queue was removed from the spec; its Deployment was deleted and its workers drain.
    QueueRemoved,
    /// Event: the task queue of a queue was changed; its workers move to the new one.
    QueueMoved,
    /// Event: tasks on a draining pod were cut off: they took longer than the grace period, or the
    /// pod was killed.
    DrainExceeded,
    /// Event: the worker of a draining pod keeps taking tasks; it ignores SIGTERM.
    PollsAfterStop,
    /// Event: the workers of a queue send heartbeats so rarely that the operator learns late which
    /// of their slots are free.
    HeartbeatsTooRare,
    /// Event: the workers of a queue have many more activity slots than any pod uses, so the
    /// operator may expect too much of a pod.
    SlotsNeverUsed,
    /// Event: workers of draining pods exit by themselves while their tasks must still be running.
    EndsBeforeItsTasks,
    /// Event: the workers of a queue also work on a task queue that the queue does not name.
    WorksOnOtherQueues,
    /// Event: a queue of only Nexus tasks may go to zero, where operations expire with their
    /// callers.
    RequestsExpire,
    /// Event: pollingInterval is shorter than the time for which Temporal caches its statistics;
    /// queues are read at that interval instead.
    PollingIntervalTooShort,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for ConditionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<scaling::Reason> for Reason {
    fn from(reason: scaling::Reason) -> Self {
        Self::Scaling(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_one_unique_word_with_an_explanation() {
        let words: Vec<&str> = Reason::OWN.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
        for reason in Reason::OWN {
            assert!(
                reason.as_str().chars().all(|c| c.is_ascii_alphanumeric()),
                "{reason}"
            );
            assert!(
                reason.describe().len() > 20,
                "{reason}: {}",
                reason.describe()
            );
        }
    }
}
