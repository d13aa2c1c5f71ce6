//! Installs packages of the distribution with apt, only those whose programs are missing.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    error::{Error, Result},
    progress::Step,
    provision::{
        packages::{PACKAGES, Package},
        plan::{PYTHON, Scope},
    },
    run, which,
};

/// Debian starts the services of packages when it installs them, unless this program says no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The packages for a sandbox of this scope whose programs are not on the machine.
pub(super) fn missing(scope: Scope) -> Vec<Package> {
    let needed: Vec<_> = PACKAGES
        .into_iter()
        .filter(|package| package.is_for(scope))
        .collect();
    missing_of(&needed)
}

/// Those of the packages whose programs are not on the machine.
pub(super) fn missing_of(packages: &[Package]) -> Vec<Package> {
    packages
        .iter()
        .copied()
        .filter(|package| !is_there(*package))
        .collect()
}

fn is_there(package: Package) -> bool {
    match package.package {
        "postgresql" => which::postgres_folder().is_some(),
        // Any Python that can make virtual environments will do; a distribution splits that part
        // off.
        "python3-venv" => {
            Path::new(PYTHON).exists()
                && Command::new("python3")
                    .args(["-c", "import venv, ensurepip"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .is_ok_and(|status| status.success())
        }
        _ if package.shown_by.starts_with('/') => Path::new(package.shown_by).exists(),
        _ => which::find(package.shown_by).is_some(),
    }
}

/// Returns an error that names the remedy if these packages are missing and cannot be installed.
pub(super) fn check(packages: &[Package]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = packages.iter().map(|package| package.package).collect();
    if which::find("apt-get").is_none() {
        return Err(Error::Machine(format!(
            "these packages are not installed: {}; this machine has no apt-get, so install the \
             packages of your distribution that contain them, then run this again",
            names.join(", ")
        )));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Machine(format!(
            "these packages are not installed, and only root can install them; run `sudo apt-get \
             install {}`, then run this again",
            names.join(" ")
        )));
    }
    Ok(())
}

/// Installs packages without starting their services.
pub(super) fn install(packages: &[Package], mut step: Step) -> Result<()> {
    check(packages)?;
    let names: Vec<&str> = packages.iter().map(|package| package.package).collect();
    step.update(&names.join(", "));
    let policy = hold_services()?;
    let result = apt(&["update"]).and_then(|()| {
        let install = ["install", "--yes", "--no-install-recommends"];
        apt(&install
            .into_iter()
            .chain(names.iter().copied())
            .collect::<Vec<_>>())
    });
    if policy {
        drop(fs::remove_file(POLICY));
    }
    result?;
    let still: Vec<_> = missing_of(packages)
        .iter()
        .map(|package| package.package)
        .collect();
    if !still.is_empty() {
        return Err(Error::Machine(format!(
            "apt-get installed {}, but the programs that the sandbox needs from {} are not in the \
             expected folders",
            names.join(", "),
            still.join(", ")
        )));
    }
    step.done(&names.join(", "));
    Ok(())
}

/// Returns whether it created the policy, which must then be removed.
fn hold_services() -> Result<bool> {
    if Path::new(POLICY).exists() {
        return Ok(false);
    }
    crate::files::write_file(Path::new(POLICY), b"#!/bin/sh\nexit 101\n")?;
    run::output(Command::new("chmod").args(["755", POLICY]))?;
    Ok(true)
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run::output(&mut command).map(drop)
}
