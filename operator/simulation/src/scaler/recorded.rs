//! A fleet whose replicas follow a recording.

use crate::engine::{Action, Cluster, Scale, Scaler};
use crate::time::Millis;

/// Replicas that were recorded.
#[derive(Debug)]
pub struct Recorded {
    /// From each time on, in order.
    steps: Vec<(Millis, u32)>,
    grace: Millis,
}

impl Recorded {
    /// Creates a fleet that has these replicas from these times on, in order, and whose pods may
    /// drain for `grace`. Before the first time it has those of the first; without any, none.
    pub fn new(steps: &[(Millis, u32)], grace: Millis) -> Self {
        Self {
            steps: steps.to_vec(),
            grace,
        }
    }

    /// The step of this time, and the time of the next one.
    fn at(&self, now: Millis) -> (u32, Option<Millis>) {
        let next = self.steps.partition_point(|(from, _)| *from <= now);
        let (_, replicas) = self.steps.get(next.max(1) - 1).copied().unwrap_or((0, 0));
        (replicas, self.steps.get(next).map(|(from, _)| *from))
    }
}

impl Scaler for Recorded {
    fn name(&self) -> &'static str {
        "as recorded"
    }

    fn initial_replicas(&self) -> u32 {
        self.at(0).0
    }

    fn grace(&self) -> Millis {
        self.grace
    }

    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action {
        let (replicas, next) = self.at(cluster.now());
        Action {
            next: next.unwrap_or(cluster.now() + 3_600_000),
            scale: Some(Scale {
                replicas,
                ..Scale::default()
            }),
        }
    }
}
