//! A sandbox that uses a cluster which is there already, tried with another sandbox as that
//! cluster. A sandbox's network is closed, so the test lays a cable (a veth pair) from it to the
//! machine, as a real cluster would have one.

use std::process::Command;

use super::{Machine, TARGETS, until};

/// The machine's end of the cable.
const CABLE: &str = "life0";
const HERE: &str = "10.251.77.1";
const THERE: &str = "10.251.77.2";

/// What runs beside the cluster is reached by its pods, and leaves it with `down`.
pub(crate) fn a_cluster_that_is_there_is_used(cluster: &Machine, beside: &Machine) {
    let init = cluster.process("init").to_string();
    lay_cable(&init);
    let kubeconfig = cluster.paths().kubeconfig();
    let up = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args([
            "--name",
            beside.0,
            "--context",
            "sandbox",
            "--host-address",
            HERE,
            "up",
        ])
        .env("KUBECONFIG", &kubeconfig)
        .output()
        .expect("sandbox starts");
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    let mine: Vec<_> = beside.status().components.into_keys().collect();
    assert_eq!(
        mine,
        [
            "discovery",
            "gateway",
            "postgres",
            "prometheus",
            "smtp",
            "temporal"
        ]
    );

    let endpoint = "jsonpath={.items[*].endpoints[*].addresses[*]}";
    let slices = [
        "kubectl",
        "get",
        "endpointslices",
        "--namespace=sandbox-services",
    ];
    let addresses = beside.ok(&[&slices[..], &["--output", endpoint]].concat());
    assert_eq!(addresses, [HERE; 4].join(" "));
    let dial = [
        "kubectl", "exec", "probe", "--", "/pause", "dial", TARGETS[0], TARGETS[1],
    ];
    until("the cluster's pods reach this machine", || {
        beside.run(&dial).status.success()
    });
    // It is this Temporal that they reach: without it, nothing answers.
    beside.ok(&["component", "stop", "temporal"]);
    assert!(cluster.status().components["temporal"].phase == sandbox_machine::Phase::Ready);
    beside.ok(&["component", "start", "temporal"]);

    beside.ok(&["down"]);
    until("the Services are gone from the cluster", || {
        let namespace = ["kubectl", "get", "namespace", "sandbox-services"];
        !cluster.run(&namespace).status.success()
    });
    run("ip", &["link", "delete", CABLE]);
    // The cluster's own Services are put back when its CoreDNS starts.
    cluster.ok(&["component", "restart", "coredns"]);
    until("the cluster's own Services are back", || {
        cluster.run(&dial).status.success()
    });
}

fn lay_cable(init: &str) {
    run(
        "ip",
        &[
            "link", "add", CABLE, "type", "veth", "peer", "name", "up0", "netns", init,
        ],
    );
    run(
        "ip",
        &["address", "add", &format!("{HERE}/30"), "dev", CABLE],
    );
    run("ip", &["link", "set", CABLE, "up"]);
    let inside = |args: &[&str]| {
        run(
            "nsenter",
            &[&["--target", init, "--net", "--"], args].concat(),
        );
    };
    inside(&["ip", "address", "add", &format!("{THERE}/30"), "dev", "up0"]);
    inside(&["ip", "link", "set", "up0", "up"]);
    inside(&[
        "iptables",
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-o",
        "up0",
        "-j",
        "MASQUERADE",
    ]);
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} {}: {said}",
        args.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
