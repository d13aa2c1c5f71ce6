//! What a sandbox could leave on a machine: processes, mounts, network interfaces, namespaces,
//! cgroups, iptables rules.

use std::{collections::BTreeSet, path::Path, process::Command};

/// All of it at one moment, as far as it belongs to the sandboxes of the test or to nobody known.
pub(crate) struct Traces {
    processes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    rules: BTreeSet<String>,
}

impl Traces {
    /// Looks at the machine. Other work may go on meanwhile, so processes and namespaces are
    /// counted only if they belong to the sandboxes of the test; everything else is compared as a
    /// whole.
    pub(crate) fn of_the_machine() -> Self {
        Self {
            processes: lines("ps", &["-eo", "args"])
                .into_iter()
                .filter(|p| is_ours(p))
                .collect(),
            mounts: std::fs::read_to_string("/proc/self/mounts")
                .expect("mounts")
                .lines()
                .filter(|line| !line.contains("buildah"))
                .map(str::to_owned)
                .collect(),
            links: names_of_links(),
            namespaces: lines("lsns", &["--noheadings", "--output", "TYPE,COMMAND"])
                .into_iter()
                .filter(|namespace| is_ours(namespace))
                .collect(),
            cgroups: cgroups(Path::new("/sys/fs/cgroup")),
            rules: lines("iptables-save", &[])
                .into_iter()
                .filter(|line| line.starts_with("-A"))
                .collect(),
        }
    }

    /// Fails with everything that is there afterwards and was not there before.
    pub(crate) fn compare(&self, after: &Self) {
        let left = |before: &BTreeSet<String>, after: &BTreeSet<String>| {
            after.difference(before).cloned().collect::<Vec<_>>()
        };
        let left = [
            ("processes", left(&self.processes, &after.processes)),
            ("mounts", left(&self.mounts, &after.mounts)),
            ("network interfaces", left(&self.links, &after.links)),
            ("namespaces", left(&self.namespaces, &after.namespaces)),
            ("cgroups", left(&self.cgroups, &after.cgroups)),
            ("iptables rules", left(&self.rules, &after.rules)),
        ];
        let found: Vec<_> = left.iter().filter(|(_, left)| !left.is_empty()).collect();
        assert!(found.is_empty(), "a sandbox left behind: {found:#?}");
    }
}

/// The names of the test's sandboxes are in the arguments or paths of everything that they start.
fn is_ours(text: &str) -> bool {
    ["life-1", "life-2", "life-3"]
        .iter()
        .any(|name| text.contains(name))
}

fn lines(program: &str, args: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(args).output().expect(program);
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn names_of_links() -> BTreeSet<String> {
    lines("ip", &["-oneline", "link"])
        .iter()
        .filter_map(|line| line.split(": ").nth(1).map(str::to_owned))
        .collect()
}

/// Other sandboxes of the machine start and end pods meanwhile; their folders carry their names.
fn cgroups(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let others = name.starts_with("taskqueue-sandbox-") && !is_ours(&name);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !others {
            found.insert(entry.path().display().to_string());
            found.extend(cgroups(&entry.path()));
        }
    }
    found
}
