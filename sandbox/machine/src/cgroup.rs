//! The sandbox's own folder in each cgroup hierarchy, below which all of its pods are. Writes below
//! /sys/fs/cgroup, and there only to folders of the sandbox's name.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::error::{Attempt, Result};

/// The root of the cgroup hierarchies.
const ROOT: &str = "/sys/fs/cgroup";

/// This file exists at the root of a cgroup v2 hierarchy only.
const V2_MARK: &str = "cgroup.controllers";

/// The `cpu.shares` of a folder that weighs as much as one process outside it.
const PROCESS_SHARES: usize = 1024;

/// The sandbox's folders: one with cgroup v2, one per hierarchy with cgroup v1.
pub(crate) fn folders(name: &str) -> Vec<PathBuf> {
    folders_below(Path::new(ROOT), name)
}

fn folders_below(root: &Path, name: &str) -> Vec<PathBuf> {
    if root.join(V2_MARK).exists() {
        return vec![root.join(name)];
    }
    let mut hierarchies: Vec<PathBuf> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        // `cpu,cpuacct` has links `cpu` and `cpuacct` beside it: one of them is enough.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path().join(name))
        .collect();
    hierarchies.sort();
    hierarchies
}

/// Creates the sandbox's folders and enables the controllers that pods need.
pub(crate) fn create(name: &str) -> Result<()> {
    let unified = Path::new(ROOT).join(V2_MARK);
    if let Ok(controllers) = fs::read_to_string(&unified) {
        enable(Path::new(ROOT), &controllers)?;
        let folder = Path::new(ROOT).join(name);
        make(&folder)?;
        return enable(&folder, &controllers);
    }
    let processors = thread::available_parallelism().attempt(|| "counting processors".into())?;
    for folder in folders(name) {
        make(&folder)?;
        fill(&folder, processors)?;
    }
    Ok(())
}

/// Sets what a new folder of a cgroup v1 hierarchy has wrong.
fn fill(folder: &Path, processors: NonZeroUsize) -> Result<()> {
    // A new cpuset is empty, and no process can live in an empty one.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let parent = folder.parent().unwrap_or(Path::new(ROOT)).join(file);
        if let Ok(content) = fs::read(&parent) {
            write(&folder.join(file), &content)?;
        }
    }
    // On a node, all pods together weigh as much as one process per processor. In a new folder they
    // would weigh as much as one process, and on a busy machine hardly run.
    let shares = folder.join("cpu.shares");
    if shares.exists() {
        let weight = PROCESS_SHARES.saturating_mul(processors.get());
        write(&shares, weight.to_string().as_bytes())?;
    }
    Ok(())
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    fs::write(file, content).attempt(|| format!("writing {}", file.display()))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).attempt(|| format!("creating the cgroup {}", folder.display()))
}

fn enable(folder: &Path, controllers: &str) -> Result<()> {
    let file = folder.join("cgroup.subtree_control");
    for controller in controllers.split_whitespace() {
        fs::write(&file, format!("+{controller}")).attempt(|| {
            format!(
                "enabling the controller {controller} in {}",
                folder.display()
            )
        })?;
    }
    Ok(())
}

/// Removes the sandbox's folders, from the leaves up. Waits briefly for processes that are ending.
pub(crate) fn remove(name: &str) -> Result<()> {
    for folder in folders(name) {
        remove_tree(&folder, Instant::now() + Duration::from_secs(10))?;
    }
    Ok(())
}

fn remove_tree(folder: &Path, deadline: Instant) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).attempt(|| format!("removing the cgroup {}", folder.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn cgroups_v1_have_one_folder_per_hierarchy_and_none_per_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for hierarchy in ["cpu,cpuacct", "memory"] {
            fs::create_dir_all(root.join(hierarchy)).unwrap();
        }
        symlink("cpu,cpuacct", root.join("cpu")).unwrap();
        assert_eq!(
            folders_below(root, "mine"),
            [root.join("cpu,cpuacct/mine"), root.join("memory/mine")]
        );
    }

    #[test]
    fn cgroups_v2_have_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join(V2_MARK), "cpu memory\n").unwrap();
        fs::create_dir_all(root.join("system.slice")).unwrap();
        assert_eq!(folders_below(root, "mine"), [root.join("mine")]);
    }

    #[test]
    fn pods_weigh_as_much_as_one_process_per_processor_and_may_run_on_all() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("mine");
        fs::create_dir(&folder).unwrap();
        fs::write(root.path().join("cpuset.cpus"), "0-3\n").unwrap();
        fs::write(folder.join("cpu.shares"), "1024\n").unwrap();
        fill(&folder, NonZeroUsize::new(4).unwrap()).unwrap();
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(
            (read("cpuset.cpus"), read("cpu.shares")),
            ("0-3\n".into(), "4096".into())
        );
        assert!(!folder.join("cpuset.mems").exists());
    }

    #[test]
    fn a_tree_is_removed_from_the_leaves_upwards() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("mine/a/b")).unwrap();
        fs::create_dir_all(root.join("mine/c")).unwrap();
        remove_tree(&root.join("mine"), Instant::now()).unwrap();
        assert!(!root.join("mine").exists());
    }
}
