//! Sets up a namespace, fleets of order workers and orders for a measurement, and reads the results
//! from Temporal. Runs kubectl and order-worker; reads Temporal over its HTTP API.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    history::{self, Workflow},
};
use sandbox_machine::{
    Image, OPERATOR_NAMESPACE, OPERATOR_RELEASE, Sandbox,
    clients::{
        http,
        temporal::{self, Temporal},
    },
    files, last_lines, run,
};

/// The pause between two polls.
const PACE: Duration = Duration::from_millis(400);
/// How many orders are started at once.
const CONCURRENCY: &str = "10";

/// A namespace of the cluster, and the Temporal beside it.
pub(crate) struct Scenario<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) namespace: &'a str,
    temporal: Temporal,
}

impl<'a> Scenario<'a> {
    /// In a namespace that exists.
    pub(crate) fn within(sandbox: &'a Sandbox, namespace: &'a str) -> Result<Self> {
        Ok(Self {
            sandbox,
            namespace,
            temporal: Temporal::of(sandbox)?,
        })
    }

    /// In a new namespace; what an earlier run left there is removed first.
    pub(crate) fn fresh(sandbox: &'a Sandbox, namespace: &'a str) -> Result<Self> {
        let scenario = Self::within(sandbox, namespace)?;
        scenario.remove()?;
        sandbox.kubectl_output(&["create", "namespace", namespace])?;
        Ok(scenario)
    }

    /// Removes the namespace. The fleets go first, so that nothing is recreated meanwhile.
    pub(crate) fn remove(&self) -> Result<()> {
        let there = self.sandbox.kubectl_output(&[
            "get",
            "namespace",
            self.namespace,
            "--ignore-not-found",
            "--output=name",
        ])?;
        if there.trim().is_empty() {
            return Ok(());
        }
        self.kubectl(&["delete", "taskqueueworkers", "--all"])?;
        self.sandbox
            .kubectl_output(&["delete", "namespace", self.namespace, "--timeout=300s"])?;
        Ok(())
    }

    /// Runs kubectl in the namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", self.namespace];
        all.extend(args);
        Ok(self.sandbox.kubectl_output(&all)?)
    }

    /// Applies one object or a list of them.
    pub(crate) fn apply(&self, objects: &Value) -> Result<()> {
        let file = self
            .sandbox
            .paths()
            .run()
            .join(format!("bench-{}.json", self.namespace));
        files::write_json(&file, objects)?;
        self.kubectl(&["apply", "--filename", &file.display().to_string()])?;
        Ok(())
    }

    /// The `TaskQueueWorker` of this name, with everything that fleets of order workers have in
    /// common. `spec` adds its queues, its scaling and its drain.
    pub(crate) fn fleet(&self, name: &str, activity_slots: u32, spec: Value) -> Value {
        self.fleet_of(name, self.template(activity_slots), spec)
    }

    /// The `TaskQueueWorker` of this name, with pods of this template.
    pub(crate) fn fleet_of(&self, name: &str, template: Value, mut spec: Value) -> Value {
        spec["connection"] = json!({
            "address": "temporal.sandbox-services.svc.cluster.local:7233",
            "temporalNamespace": temporal::NAMESPACE,
        });
        spec["template"] = template;
        json!({
            "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        })
    }

    fn template(&self, activity_slots: u32) -> Value {
        let service = |scheme: &str, name: &str, rest: &str| {
            format!("{scheme}://{name}.sandbox-services.svc.cluster.local:{rest}")
        };
        json!({"spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "worker",
                "image": self.sandbox.image_reference(Image::OrderWorker),
                "imagePullPolicy": "IfNotPresent",
                "env": [
                    {
                        "name": "DATABASE_URL",
                        "value": service("postgres", "orders@postgres", "5432/orders"),
                    },
                    {
                        "name": "PAYMENT_GATEWAY_URL",
                        "value": service("http", "payment-gateway", "8090"),
                    },
                    {"name": "SMTP_URL", "value": service("smtp", "smtp", "2525")},
                    {"name": "MAIL_FROM", "value": "orders@shop.example"},
                    {
                        "name": "TASKQUEUE_WORKER_ACTIVITY_SLOTS",
                        "value": activity_slots.to_string(),
                    },
                ],
                "readinessProbe": {
                    "httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1,
                },
            }],
        }})
    }

    /// Places orders with the order worker's own client and returns when Temporal has taken them
    /// all. `queues` are the client's flags that say where the orders and their activities run.
    pub(crate) fn place(&self, queues: &[&str], orders: &[Value]) -> Result<()> {
        let folder = self.sandbox.paths().run();
        let file = folder.join(format!("bench-{}-orders.jsonl", self.namespace));
        let lines = orders.iter().fold(String::new(), |mut lines, order| {
            lines.push_str(&order.to_string());
            lines.push('\n');
            lines
        });
        files::write_file(&file, lines.as_bytes())?;
        let mut command = self.sandbox.order_client()?;
        command
            .arg("start")
            .args(queues)
            .args(["--concurrency", CONCURRENCY, "--file"])
            .arg(&file);
        run::output(&mut command)?;
        Ok(())
    }

    /// Waits until as many workflows whose ids begin with `prefix` have ended as were started.
    /// `timeout` restarts whenever one ends.
    pub(crate) fn until_ended(&self, prefix: &str, placed: u64, timeout: Duration) -> Result<()> {
        let of_run = format!("WorkflowId STARTS_WITH '{prefix}'");
        let ended = format!("{of_run} AND ExecutionStatus != 'Running'");
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let path = format!("workflow-count?query={}", http::escape(&ended));
            let now = history::count(&self.temporal.get(&path)?)
                .map_err(|why| Error::source("Temporal's count of workflows", why))?;
            if now >= placed {
                return Ok(());
            }
            if now > most {
                (most, since) = (now, Instant::now());
            }
            if since.elapsed() > timeout {
                return Err(self.not_reached(&format!(
                    "of {placed} workflows {prefix}..., {now} have ended, and none in the last \
                     {} s",
                    timeout.as_secs()
                )));
            }
            thread::sleep(PACE);
        }
    }

    /// A workflow from its history.
    pub(crate) fn workflow(&self, id: &str) -> Result<Workflow> {
        let path = format!(
            "workflows/{}/history?maximumPageSize=1000",
            http::escape(id)
        );
        history::workflow(id, &self.temporal.get(&path)?)
            .map_err(|why| Error::source(format!("Temporal's history of {id}"), why))
    }

    /// An error with diagnostics. What cannot be read is named in them.
    pub(crate) fn not_reached(&self, what: &str) -> Error {
        let views = [
            (
                self.namespace,
                60,
                "get taskqueueworkers,deployments,pods --output=wide",
            ),
            (
                self.namespace,
                200,
                "describe taskqueueworkers --show-events=false",
            ),
            (
                self.namespace,
                40,
                "get events --sort-by=.metadata.creationTimestamp",
            ),
            (
                OPERATOR_NAMESPACE,
                40,
                &format!("logs deployment/{OPERATOR_RELEASE} --tail=40 --pod-running-timeout=2s"),
            ),
        ];
        let state = views
            .into_iter()
            .fold(String::new(), |mut state, (namespace, lines, view)| {
                let args: Vec<&str> = ["--namespace", namespace]
                    .into_iter()
                    .chain(view.split(' '))
                    .collect();
                let output = self
                    .sandbox
                    .kubectl_output(&args)
                    .unwrap_or_else(|error| error.to_string());
                for part in [
                    "--- kubectl ",
                    view,
                    "\n",
                    &last_lines(&output, lines),
                    "\n",
                ] {
                    state.push_str(part);
                }
                state
            });
        Error::NotReached {
            what: what.to_owned(),
            state,
        }
    }
}
