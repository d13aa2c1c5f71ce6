//! A fleet that never changes.

use crate::engine::{Action, Cluster, Scaler};

/// A fixed number of replicas.
#[derive(Debug)]
pub struct Fixed {
    name: String,
    replicas: u32,
}

impl Fixed {
    /// Creates a fleet of this size.
    pub fn new(replicas: u32) -> Self {
        Self {
            name: format!("fixed fleet of {replicas}"),
            replicas,
        }
    }
}

impl Scaler for Fixed {
    fn name(&self) -> &str {
        &self.name
    }

    fn initial_replicas(&self) -> u32 {
        self.replicas
    }

    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action {
        Action {
            next: cluster.now() + 3_600_000,
            scale: None,
        }
    }
}
