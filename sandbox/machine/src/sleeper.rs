//! The sleeper: a plain worker written with Temporal's Go SDK, whose tasks only take time. The soak
//! and the cluster tests use it to show how the operator treats workers other than its own. Builds
//! it on first use, loads its image into the cluster, and starts its tasks.

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{error::Result, progress::Progress, provision, run, sandbox::Sandbox};

/// The sleeper, ready to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sleeper {
    program: PathBuf,
    /// The reference of its image.
    pub image: String,
}

/// Tasks that are started at once, each by a workflow of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tasks<'a> {
    /// The task queue of the workflows.
    pub queue: &'a str,
    /// What the ids of the workflows begin with; a hyphen and a number from 0 follow.
    pub id: &'a str,
    /// How many.
    pub count: usize,
    /// How long each takes.
    pub takes: Duration,
    /// Whether they run on a worker's own host queue instead of the shared one.
    pub on_host: bool,
}

impl Tasks<'_> {
    /// The ids of the workflows.
    pub fn ids(&self) -> Vec<String> {
        (0..self.count)
            .map(|number| format!("{}-{number}", self.id))
            .collect()
    }
}

impl Sandbox {
    /// The sleeper, with its image in the cluster.
    pub fn sleeper(&self, progress: Progress) -> Result<Sleeper> {
        let built = provision::sleeper::provision(self.paths(), progress)?;
        let sleeper = Sleeper {
            program: built.program.clone(),
            image: self.test_image_reference("sleeper", &built.tag),
        };
        let dockerfile = built.dockerfile();
        let image = built.image(&dockerfile, &sleeper.image);
        self.deliver_test_image("sleeper", image, progress)?;
        Ok(sleeper)
    }
}

impl Sleeper {
    /// A pod template with it, and these variables.
    pub fn template(&self, env: &[(&str, &str)]) -> Value {
        let env: Vec<Value> = env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        json!({"spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "worker",
                "image": self.image,
                "imagePullPolicy": "IfNotPresent",
                "env": env,
                "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
            }],
        }})
    }

    /// Starts tasks, and returns when Temporal at this address has taken them all.
    pub fn start(&self, temporal: &str, tasks: &Tasks<'_>) -> Result<()> {
        let kind = if tasks.on_host { "host-task" } else { "task" };
        let mut command = Command::new(&self.program);
        command
            .args(["start", tasks.queue, tasks.id])
            .arg(tasks.count.to_string())
            .arg(tasks.takes.as_secs_f64().to_string())
            .arg(kind)
            .env("TEMPORAL_ADDRESS", temporal)
            .env_remove("TEMPORAL_NAMESPACE");
        run::output(&mut command).map(drop)
    }
}
