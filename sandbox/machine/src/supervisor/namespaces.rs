//! Sets up mounts, network and users inside the sandbox's namespaces.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::Command,
    time::Duration,
};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use crate::{
    components::{self, MOUNTED, Owner, Owners, TEMPORAL},
    config::{self, HostFacts},
    error::{Attempt, Error, Result},
    files::make_folder,
    machine::Machine,
    net::{BRIDGE, NODE_ADDRESS, SERVICE_RANGE},
    paths::COVERED,
    supervisor::reaper::Reaper,
    which,
};

/// The `statfs` type of overlay file systems, which cannot be stacked.
const OVERLAY_MAGIC: i64 = 0x794c_7630;

/// Sets up the namespaces for services with an external cluster: loopback is the only network.
pub(super) fn services_only(machine: &Machine, owners: &Owners, reaper: &Reaper) -> Result<()> {
    let paths = &machine.paths;
    for folder in [paths.logs(), paths.state.join("prometheus")] {
        make_folder(&folder)?;
    }
    config::write_services(paths)?;
    mounts(machine, owners)?;
    ip(reaper, &paths.run(), &[&["link", "set", "lo", "up"]])
}

/// Sets up the namespaces for a cluster and the services beside it.
pub(super) fn cluster(machine: &Machine, owners: &Owners, reaper: &Reaper) -> Result<()> {
    let paths = &machine.paths;
    for folder in [
        paths.logs(),
        paths.state.join("prometheus"),
        paths.state.join("containerd"),
    ] {
        make_folder(&folder)?;
    }
    config::write(paths, &host_facts(machine))?;
    mounts(machine, owners)?;
    network(reaper, &paths.run())
}

/// The facts about this machine that the configuration depends on.
fn host_facts(machine: &Machine) -> HostFacts {
    HostFacts {
        runc: machine.programs.runc.display().to_string(),
        cni_plugins: machine.programs.cni_folder.display().to_string(),
        overlay: !is_overlay(&machine.paths.state),
    }
}

fn mounts(machine: &Machine, owners: &Owners) -> Result<()> {
    let paths = &machine.paths;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .attempt(|| "making the mounts private".into())?;
    // Programs write to fixed paths below these folders: each sandbox has its own, and those of the
    // machine stay unchanged.
    for covered in COVERED {
        mount("tmpfs", covered, "tmpfs", MountFlags::NOSUID, c"mode=755")
            .attempt(|| format!("mounting an empty folder over {covered}"))?;
    }
    make_folder(Path::new("/run/lock"))?;
    for (folder, (user, group)) in components::mounted(owners) {
        let source = paths.state.join(folder);
        let target = Path::new(MOUNTED).join(folder);
        make_folder(&source)?;
        make_folder(&target)?;
        chown(&source, Some(user), Some(group))
            .attempt(|| format!("changing the owner of {} to user {user}", source.display()))?;
        fs::set_permissions(&source, fs::Permissions::from_mode(0o700))
            .attempt(|| format!("restricting access to {}", source.display()))?;
        mount_bind(&source, &target).attempt(|| format!("mounting {}", target.display()))?;
    }
    let program = &machine.programs.temporal;
    let folder = Path::new(MOUNTED).join(TEMPORAL);
    make_folder(&folder)?;
    mount_bind(program.parent().unwrap_or(Path::new("/")), &folder)
        .attempt(|| format!("mounting the folder of {}", program.display()))?;
    let rules = Path::new(MOUNTED).join("postgres/pg_hba.conf");
    fs::copy(paths.config().join("pg_hba.conf"), &rules)
        .attempt(|| format!("writing {}", rules.display()))?;
    chown(&rules, Some(owners.postgres.0), Some(owners.postgres.1))
        .attempt(|| format!("changing the owner of {} to postgres", rules.display()))
}

fn network(reaper: &Reaper, scratch: &Path) -> Result<()> {
    let address = format!("{NODE_ADDRESS}/24");
    let commands: [&[&str]; 5] = [
        &["link", "set", "lo", "up"],
        &["link", "add", BRIDGE, "type", "bridge"],
        &["address", "add", &address, "dev", BRIDGE],
        &["link", "set", BRIDGE, "up"],
        // Without it, processes beside the pods could not reach Services; pods can.
        &["route", "add", SERVICE_RANGE, "dev", BRIDGE],
    ];
    ip(reaper, scratch, &commands)?;
    let forward = "/proc/sys/net/ipv4/ip_forward";
    fs::write(forward, "1").attempt(|| format!("writing {forward}"))
}

fn ip(reaper: &Reaper, scratch: &Path, commands: &[&[&str]]) -> Result<()> {
    let ip = which::find("ip")
        .ok_or_else(|| Error::Machine("ip (package iproute2) is not installed".into()))?;
    for args in commands {
        reaper
            .output(
                Command::new(&ip).args(*args),
                Duration::from_secs(10),
                scratch,
            )
            .map_err(|why| Error::Machine(format!("the sandbox's network: {why}")))?;
    }
    Ok(())
}

/// A user of the machine with its group.
pub(super) fn owner(user: &str) -> Result<Owner> {
    let file = "/etc/passwd";
    let text = fs::read_to_string(file).attempt(|| format!("reading {file}"))?;
    find_owner(&text, user).ok_or_else(|| {
        Error::Machine(format!(
            "this machine has no user {user:?}, and a component must run as this user"
        ))
    })
}

fn find_owner(passwd: &str, user: &str) -> Option<Owner> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _) = (fields.next()?, fields.next()?);
        (name == user).then_some(())?;
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// Whether a folder is on an overlay file system (as the root of a container is).
fn is_overlay(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|about| about.f_type == OVERLAY_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:103:105:x:/:/bin/sh\n";
        assert_eq!(find_owner(passwd, "postgres"), Some((103, 105)));
        assert_eq!(find_owner(passwd, "post"), None);
    }
}
