//! A whole sandbox from nothing to nothing, on this machine: needs root on Linux, and everything
//! that `sandbox up` builds. It proves that a sandbox comes up, that pods run and reach what they
//! should, that it is repaired after every kind of sudden death, that two do not touch each other,
//! and that `down` leaves the machine as it was.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is test code"
)]

mod context;
mod traces;

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

use traces::Traces;

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"},
    "spec": {"terminationGracePeriodSeconds": 1, "containers": [
        {"name": "probe", "image": "localhost/pause:1", "imagePullPolicy": "IfNotPresent"}]}}"#;

const TARGETS: [&str; 5] = [
    "temporal.sandbox-services.svc:7233",
    "postgres.sandbox-services.svc.cluster.local:5432",
    "smtp.sandbox-services:2525",
    "kubernetes.default.svc:443",
    "kubernetes:443",
];

/// A sandbox that is removed at the end, also when the test fails.
struct Machine(&'static str);

impl Machine {
    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args(["--name", self.0])
            .args(args)
            .output()
            .unwrap_or_else(|error| panic!("sandbox does not start: {error}"))
    }

    /// Runs a subcommand that has to succeed; returns what it printed on standard output.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "sandbox --name {} {}: {}\n{}{}",
            self.0,
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn paths(&self) -> sandbox_machine::Paths {
        sandbox_machine::Paths::of(&self.0.parse().expect("a good name")).expect("folders")
    }

    fn status(&self) -> sandbox_machine::Status {
        sandbox_machine::Status::read(&self.paths().status_file())
            .expect("readable")
            .expect("a status")
    }

    /// The process id of `supervisor` or `init`, as the machine counts.
    fn process(&self, which: &str) -> i32 {
        let text = std::fs::read_to_string(self.paths().supervisor_file()).expect("a supervisor");
        let record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        i32::try_from(record[which]["pid"].as_i64().expect("a pid")).expect("a pid")
    }

    fn kill(&self, which: &str) {
        let pid = self.process(which);
        let killed = Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .expect("kill");
        assert!(killed.success(), "cannot kill {which} {pid}");
        until(&format!("{which} is gone"), || {
            !PathBuf::from(format!("/proc/{pid}/ns")).exists()
        });
    }

    fn probe_runs(&self) {
        self.ok(&[
            "kubectl",
            "wait",
            "pod/probe",
            "--for=condition=Ready",
            "--timeout=60s",
        ]);
    }

    /// What a pod reaches, by name, through DNS and Services.
    fn dial(&self) -> String {
        let command = ["kubectl", "exec", "probe", "--", "/pause", "dial"];
        self.ok(&[&command[..], &TARGETS[..]].concat())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.run(&["clean"]);
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The manifest of the pod, in a file that is removed with the value.
fn manifest() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), POD).expect("a temporary file");
    file
}

/// One test, because the traces of two at once could not be told apart.
#[test]
fn a_sandbox_starts_survives_killed_processes_and_leaves_nothing() {
    let (one, two, three) = (Machine("life-1"), Machine("life-2"), Machine("life-3"));
    for machine in [&one, &two, &three] {
        machine.run(&["clean"]);
    }
    let before = Traces::of_the_machine();

    one.ok(&["up"]);
    pods_run_and_reach_what_they_should(&one);
    up_twice_is_harmless(&one);
    a_cluster_keeps_its_version(&one);
    components_obey(&one);
    a_component_that_dies_is_started_again(&one);
    up_repairs_after_the_death_of(&one, "supervisor");
    up_repairs_after_the_death_of(&one, "init");
    two_do_not_touch_each_other(&one, &two);
    context::a_cluster_that_is_there_is_used(&one, &three);

    one.ok(&["down"]);
    one.ok(&["down"]);
    assert!(
        !one.run(&["status"]).status.success(),
        "status of a sandbox that is down"
    );
    before.compare(&Traces::of_the_machine());

    one.ok(&["up"]);
    one.probe_runs();
    one.ok(&["clean"]);
    assert!(!one.paths().state.exists(), "clean leaves the state folder");
    before.compare(&Traces::of_the_machine());
}

fn pods_run_and_reach_what_they_should(machine: &Machine) {
    let file = manifest();
    machine.ok(&["kubectl", "apply", "-f", &file.path().display().to_string()]);
    machine.probe_runs();
    let reached = machine.dial();
    assert_eq!(reached.lines().count(), TARGETS.len(), "{reached}");
    assert!(
        reached
            .lines()
            .all(|line| line.contains(": reached 10.96.")),
        "{reached}"
    );
    machine.ok(&["kubectl", "logs", "probe"]);
}

fn up_twice_is_harmless(machine: &Machine) {
    let (supervisor, began) = (machine.process("supervisor"), machine.status().started);
    machine.ok(&["up"]);
    assert_eq!(
        (machine.process("supervisor"), machine.status().started),
        (supervisor, began)
    );
}

fn a_cluster_keeps_its_version(machine: &Machine) {
    machine.ok(&["up", "--kubernetes", "1.36"]);
    let other = machine.run(&["up", "--kubernetes", "1.31"]);
    assert!(!other.status.success(), "a cluster changed its version");
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(said.contains("has a cluster of Kubernetes 1.36"), "{said}");
}

fn components_obey(machine: &Machine) {
    let phase = || machine.status().components["temporal"].phase;
    machine.ok(&["component", "stop", "temporal"]);
    assert_eq!(phase(), sandbox_machine::Phase::Stopped);
    let dialled = machine.run(&[
        "kubectl", "exec", "probe", "--", "/pause", "dial", TARGETS[0],
    ]);
    assert!(!dialled.status.success(), "a stopped Temporal was reached");
    machine.ok(&["component", "start", "temporal"]);
    assert_eq!(phase(), sandbox_machine::Phase::Ready);
    machine.ok(&["component", "pause", "temporal"]);
    assert_eq!(phase(), sandbox_machine::Phase::Paused);
    machine.ok(&["component", "resume", "temporal"]);
    assert_eq!(phase(), sandbox_machine::Phase::Ready);
    machine.ok(&[
        "component",
        "restart",
        "temporal",
        "--",
        "--namespace=second",
    ]);
    let temporal = machine.paths();
    let temporal = sandbox_machine::Programs::locate(&temporal)
        .expect("programs")
        .temporal;
    let address = machine.ok(&["env"]);
    let address = address
        .lines()
        .find_map(|line| line.strip_prefix("export TEMPORAL_ADDRESS="));
    let described = Command::new(temporal)
        .args(["operator", "namespace", "describe", "--namespace=second"])
        .args(["--address", address.expect("an address").trim_matches('\'')])
        .output()
        .expect("temporal starts");
    assert!(
        described.status.success(),
        "the additional argument was not used"
    );
    machine.ok(&["component", "stop", "temporal"]);
    machine.ok(&["up"]);
    assert_eq!(phase(), sandbox_machine::Phase::Ready);
    let unknown = machine.run(&["component", "stop", "nothing"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        said.contains("there is no component \"nothing\"; the components are containerd"),
        "{said}"
    );
}

fn a_component_that_dies_is_started_again(machine: &Machine) {
    for component in [
        "kubelet",
        "containerd",
        "etcd",
        "kube-apiserver",
        "postgres",
        "coredns",
    ] {
        let before = machine.status().components[component].restarts;
        machine.ok(&["component", "kill", component]);
        until(&format!("{component} is ready again"), || {
            let status = machine.status().components[component].clone();
            status.restarts == before + 1 && status.phase == sandbox_machine::Phase::Ready
        });
    }
    machine.ok(&["up"]);
    machine.probe_runs();
    machine.dial();
}

fn up_repairs_after_the_death_of(machine: &Machine, which: &str) {
    machine.kill(which);
    let status = machine.run(&["status"]);
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(said.contains("is not up"), "{said}");
    machine.ok(&["up"]);
    // The cluster remembers its objects; the pod is started again, as after a restart of a machine.
    // Until the kubelet has looked, the pod's status is the one from before.
    let command = [
        &["kubectl", "exec", "probe", "--", "/pause", "dial"][..],
        &TARGETS[..],
    ]
    .concat();
    until("the pod runs again", || {
        machine.run(&command).status.success()
    });
    machine.probe_runs();
}

fn two_do_not_touch_each_other(one: &Machine, two: &Machine) {
    two.ok(&["up"]);
    let pods = two.ok(&[
        "kubectl",
        "get",
        "pods",
        "--all-namespaces",
        "--output=name",
    ]);
    assert_eq!(pods, "", "a new sandbox has pods");
    let file = manifest();
    two.ok(&["kubectl", "apply", "-f", &file.path().display().to_string()]);
    two.probe_runs();
    two.dial();
    two.ok(&["clean"]);
    one.probe_runs();
    one.dial();
}
