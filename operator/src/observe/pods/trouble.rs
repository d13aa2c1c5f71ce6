//! Why pods do not start or do not stay up. Pure. The message is the same for every pod with the
//! same trouble and at every pass, so that a condition neither flickers nor depends on the order of
//! pods.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use taskqueue_api::Reason;
use taskqueue_scaling::PodPhase;

use super::fields::condition;
use crate::not_ready::NotReady;

/// How long a container that has ended repeatedly must run before it counts as stable, in a pod
/// that is not ready. The kubelet resets its back-off after the same time.
const STAYS: SignedDuration = SignedDuration::from_mins(10);
/// The same in a ready pod: without a readiness probe, a pod is ready as soon as it is started.
const STAYS_READY: SignedDuration = SignedDuration::from_mins(1);

/// What is wrong with a pod in `phase`, if that is certain.
pub(super) fn of(pod: &Pod, phase: PodPhase, now: Timestamp) -> Option<NotReady> {
    if phase != PodPhase::Ready
        && let Some(why) = unplaced(pod)
    {
        return Some(why);
    }
    let status = pod.status.as_ref()?;
    let stays = if phase == PodPhase::Ready {
        STAYS_READY
    } else {
        STAYS
    };
    let init = status.init_container_statuses.iter().flatten();
    let init = init.map(|container| ("init container", container));
    let main = status.container_statuses.iter().flatten();
    let main = main.map(|container| ("container", container));
    init.chain(main)
        .find_map(|(kind, container)| of_container(kind, container, now, stays))
}

/// Orders troubles by severity, the worst first, and then by message.
pub(super) fn order(a: &NotReady, b: &NotReady) -> Ordering {
    let rank = |why: &NotReady| match why.reason {
        Reason::ImagePullFailed => 0,
        Reason::PodsFailing => 1,
        _ => 2,
    };
    (rank(a), &a.message).cmp(&(rank(b), &b.message))
}

fn unplaced(pod: &Pod) -> Option<NotReady> {
    let unplaced = condition(pod, "PodScheduled").filter(|scheduled| {
        scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable")
    })?;
    let message = unplaced.message.as_deref();
    let why = message.map_or_else(|| "no node fits".to_owned(), why_unschedulable);
    Some(NotReady {
        reason: Reason::PodsUnschedulable,
        message: format!(
            "pods cannot be scheduled on any node: {why}; add nodes, or change resources, \
             nodeSelector or tolerations"
        ),
    })
}

/// The scheduler's message without its node counts, which change as nodes come and go: "0/7 nodes
/// are available: 3 Insufficient cpu, 4 node(s) had untolerated taint(s)."
fn why_unschedulable(message: &str) -> String {
    let about_pods = message.split("preemption:").next().unwrap_or(message);
    let (_, reasons) = about_pods.split_once(": ").unwrap_or(("", about_pods));
    let bare = |reason: &str| {
        let reason = reason
            .trim()
            .trim_start_matches(|c: char| c.is_ascii_digit());
        reason.trim().trim_end_matches('.').to_owned()
    };
    let reasons = reasons
        .split([',', '.'])
        .map(bare)
        .filter(|reason| !reason.is_empty());
    let reasons: BTreeSet<String> = reasons.collect();
    reasons.into_iter().collect::<Vec<_>>().join(", ")
}

fn of_container(
    kind: &str,
    container: &ContainerStatus,
    now: Timestamp,
    stays: SignedDuration,
) -> Option<NotReady> {
    let name = &container.name;
    let Some(waiting) = container.state.as_ref().and_then(|s| s.waiting.as_ref()) else {
        return relapses(container, now, stays).then(|| failing(kind, container));
    };
    let word = waiting.reason.as_deref()?;
    match word {
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => {
            Some(NotReady {
                reason: Reason::ImagePullFailed,
                message: format!(
                    "the image {} of {kind} {name} cannot be pulled ({}); correct the image, or \
                     give the pods a pull Secret for it",
                    container.image,
                    // The kubelet alternates between the two reasons while it backs off.
                    if word == "ErrImagePull" {
                        "ImagePullBackOff"
                    } else {
                        word
                    }
                ),
            })
        }
        "CrashLoopBackOff" => Some(failing(kind, container)),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let detail = waiting.message.as_deref().map(steady);
            Some(not_started(kind, name, word, detail))
        }
        _ => None,
    }
}

/// Whether a container that is not waiting has ended so often and so recently that it will probably
/// end again. After its first end a container restarts at once; after each later one, it waits in a
/// back-off that is reported.
fn relapses(container: &ContainerStatus, now: Timestamp, stays: SignedDuration) -> bool {
    let Some(state) = container.state.as_ref() else {
        return false;
    };
    let started = state.running.as_ref().map(|running| &running.started_at);
    let lately = started.is_none_or(|started| {
        let started = started.as_ref().map(|started| started.0);
        started.is_some_and(|started| now.duration_since(started) < stays)
    });
    // An init container that has succeeded is done.
    let done = state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    container.restart_count > 1 && last_end(container).is_some() && lately && !done
}

fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container.state.as_ref();
    let before = container.last_state.as_ref();
    now.and_then(|state| state.terminated.as_ref())
        .or_else(|| before.and_then(|state| state.terminated.as_ref()))
}

fn failing(kind: &str, container: &ContainerStatus) -> NotReady {
    let name = &container.name;
    let ended = last_end(container);
    let why = ended.and_then(|ended| ended.reason.as_deref());
    if let Some(word @ ("StartError" | "ContainerCannotRun")) = why {
        let detail = ended.and_then(|ended| ended.message.as_deref());
        return not_started(kind, name, word, detail.map(steady));
    }
    let exit = ended.map(|ended| format!(" with code {}", ended.exit_code));
    // `Error` and `Completed` say no more than the exit code.
    let why = why.filter(|why| !matches!(*why, "Error" | "Completed"));
    let why = why.map(|why| format!(" ({why})"));
    NotReady {
        reason: Reason::PodsFailing,
        message: format!(
            "{kind} {name} exits{}{} each time it starts; see kubectl logs --previous of its pod",
            exit.unwrap_or_default(),
            why.unwrap_or_default(),
        ),
    }
}

fn not_started(kind: &str, name: &str, word: &str, detail: Option<String>) -> NotReady {
    NotReady {
        reason: Reason::PodsFailing,
        message: match detail {
            Some(detail) => format!("{kind} {name} cannot be started ({word}): {detail}"),
            None => format!("{kind} {name} cannot be started ({word})"),
        },
    }
}

/// A message of the kubelet or the container runtime, without ids of pods and containers, which
/// differ from pod to pod and from start to start.
fn steady(text: &str) -> String {
    let is_id = |run: &str| run.chars().filter(char::is_ascii_hexdigit).count() >= 32;
    let has_id = |word: &&str| {
        word.split(|c: char| !c.is_ascii_hexdigit() && c != '-')
            .any(is_id)
    };
    let words = text.split_whitespace();
    let words = words.map(|word| if has_id(&word) { "(id)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
