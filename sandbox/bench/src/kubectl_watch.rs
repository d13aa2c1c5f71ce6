//! Watches objects of a namespace with `kubectl get --watch` and records when each line arrived.
//! Starts kubectl, one thread per watch; parsing the lines is pure.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use crate::{error::Result, scenario::Scenario};
use sandbox_machine::{Attempt, Sandbox};

/// The pause before a watch that ended is restarted.
const PAUSE: Duration = Duration::from_millis(200);

/// The name of a fleet and its queue, what its Deployment asks for, and the pods that it has.
const DEPLOYMENTS: &str = "jsonpath={.metadata.labels.taskqueue\\.dev/worker} \
                           {.metadata.labels.taskqueue\\.dev/queue} \
                           {.spec.replicas} {.status.replicas}{\"\\n\"}";
/// A pod, with its deletion timestamp if it is terminating.
const PODS: &str = r#"jsonpath={.metadata.name} {.metadata.deletionTimestamp}{"\n"}"#;

/// A line, and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    at: Timestamp,
    text: String,
}

/// A watch that is under way.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    child: Option<Child>,
    stop: bool,
}

/// The replicas of a Deployment, from one moment to the next change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replicas {
    pub(crate) at: Timestamp,
    pub(crate) fleet: String,
    pub(crate) queue: String,
    /// As its spec says.
    pub(crate) desired: u32,
    /// The existing pods, without those that are terminating.
    pub(crate) current: u32,
}

impl Watch {
    /// Follows the Deployments of a namespace.
    pub(crate) fn deployments(scenario: &Scenario<'_>) -> Result<Self> {
        Self::start(scenario, "deployments", DEPLOYMENTS)
    }

    /// Follows the pods of a namespace.
    pub(crate) fn pods(scenario: &Scenario<'_>) -> Result<Self> {
        Self::start(scenario, "pods", PODS)
    }

    fn start(
        scenario: &Scenario<'_>,
        resource: &'static str,
        columns: &'static str,
    ) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let (sandbox, namespace) = (scenario.sandbox.clone(), scenario.namespace.to_owned());
        let followed = Arc::clone(&shared);
        // The first start happens here, where an error can be returned.
        let first = spawn(&sandbox, &namespace, resource, columns)?;
        let thread = thread::spawn(move || {
            let mut next = Some(first);
            while follow(&followed, next.take()) {
                // The API server ends every watch after a while.
                next = spawn(&sandbox, &namespace, resource, columns).ok();
            }
        });
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until the replicas seen so far, the latest state last, show what is looked for.
    pub(crate) fn wait<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(&[Replicas]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state.lock();
        loop {
            if let Some(found) = look(&replicas(&state.lines)) {
                return Some(found);
            }
            if Instant::now() >= deadline {
                return None;
            }
            self.shared.news.wait_until(&mut state, deadline);
        }
    }

    /// Every change of replicas that was seen, oldest first. The first of each Deployment is how it
    /// was found.
    pub(crate) fn replicas(&self) -> Vec<Replicas> {
        replicas(&self.shared.state.lock().lines)
    }

    /// When each pod was first seen terminating.
    pub(crate) fn terminating(&self) -> BTreeMap<String, Timestamp> {
        terminating(&self.shared.state.lock().lines)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stop = true;
        if let Some(child) = &mut state.child {
            // It may have ended by itself.
            child.kill().ok();
        }
        drop(state);
        if let Some(thread) = self.thread.take() {
            // A panic of the reader is ignored here.
            thread.join().ok();
        }
    }
}

fn spawn(
    sandbox: &Sandbox,
    namespace: &str,
    resource: &str,
    columns: &str,
) -> sandbox_machine::Result<Child> {
    sandbox
        .kubectl()
        .args(["--namespace", namespace, "get", resource, "--watch"])
        .args(["--output", columns])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .attempt(|| format!("starting kubectl get {resource} --watch"))
}

/// Records the lines of one watch until it ends. Returns whether to restart it.
fn follow(shared: &Shared, child: Option<Child>) -> bool {
    let Some(mut child) = child else {
        thread::sleep(PAUSE);
        return !shared.state.lock().stop;
    };
    let output = child.stdout.take();
    {
        let mut state = shared.state.lock();
        if state.stop {
            child.kill().ok();
        }
        state.child = Some(child);
    }
    for text in output
        .into_iter()
        .flat_map(|output| BufReader::new(output).lines().map_while(Result::ok))
    {
        let at = Timestamp::now();
        shared.state.lock().lines.push(Line { at, text });
        shared.news.notify_all();
    }
    let child = shared.state.lock().child.take();
    if let Some(mut child) = child {
        child.wait().ok();
    }
    thread::sleep(PAUSE);
    !shared.state.lock().stop
}

/// The replica changes in the lines of a watch on Deployments.
fn replicas(lines: &[Line]) -> Vec<Replicas> {
    let mut last = BTreeMap::new();
    let mut changes = Vec::new();
    for line in lines {
        let mut words = line.text.split(' ');
        let (Some(fleet), Some(queue), Some(desired)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(desired) = desired.parse() else {
            continue;
        };
        // What is zero is left out of the status.
        let current = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let state = (desired, current);
        if last.insert((fleet, queue), state) != Some(state) {
            changes.push(Replicas {
                at: line.at,
                fleet: fleet.to_owned(),
                queue: queue.to_owned(),
                desired,
                current,
            });
        }
    }
    changes
}

fn terminating(lines: &[Line]) -> BTreeMap<String, Timestamp> {
    let mut stopped = BTreeMap::new();
    for line in lines {
        if let Some((pod, when)) = line.text.split_once(' ')
            && !when.trim().is_empty()
        {
            stopped.entry(pod.to_owned()).or_insert(line.at);
        }
    }
    stopped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts
            .iter()
            .enumerate()
            .map(|(second, text)| Line {
                at: Timestamp::from_second(i64::try_from(second).unwrap()).unwrap(),
                text: (*text).to_owned(),
            })
            .collect()
    }

    #[test]
    fn only_changes_count_and_they_are_recorded_per_deployment() {
        let seen = replicas(&lines(&[
            "a orders 0 ",
            "b orders 0 ",
            "a orders 0 ",
            "a orders 2 ",
            "a orders 2 2",
            "no deployment of a fleet",
            "a orders 2 2",
        ]));
        let brief: Vec<_> = seen
            .iter()
            .map(|change| {
                (
                    change.at.as_second(),
                    change.fleet.as_str(),
                    change.desired,
                    change.current,
                )
            })
            .collect();
        assert_eq!(
            brief,
            [
                (0, "a", 0, 0),
                (1, "b", 0, 0),
                (3, "a", 2, 0),
                (4, "a", 2, 2)
            ]
        );
    }

    #[test]
    fn a_pod_stops_at_the_time_when_its_deletion_is_first_seen() {
        let stopped = terminating(&lines(&[
            "pod-a ",
            "pod-b ",
            "pod-a 2026-01-01T00:00:00Z",
            "pod-a 2026-01-01T00:00:00Z",
        ]));
        assert_eq!(
            stopped.into_iter().collect::<Vec<_>>(),
            [("pod-a".to_owned(), Timestamp::from_second(2).unwrap())]
        );
    }
}
