//! The root of a base image, made of Debian's packages and those that they need, without Docker and
//! without running their scripts. Starts apt-get, dpkg-deb and tar; writes to the cache folder.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

use crate::{
    error::{Attempt, Error, Result},
    files::{make_folder, remove_folder, write_file},
    paths::Paths,
    progress::{Progress, Step},
    run, which,
};

/// The certificates that the image trusts. The script of the package ca-certificates would make it.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Folders of the root that are links into `usr`, as Debian has them.
const IN_USR: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Links that scripts of packages would make, where the package is there.
const LINKS: [(&str, &str); 1] = [("usr/bin/java", "usr/lib/jvm/java-17-openjdk-amd64/bin/java")];
/// Parts of packages that no worker reads.
const LEFT_OUT: [&str; 4] = ["usr/share/doc", "usr/share/man", "usr/share/locale", "var"];

/// The folder with the root; makes it, unless it is there.
pub(super) fn root(paths: &Paths, packages: &[&str], progress: Progress) -> Result<PathBuf> {
    let digest = Sha256::digest(packages.join(" "));
    let finished = paths
        .cache
        .join("bin")
        .join(format!("debian-{}", hex::encode(&digest[..6])));
    if !finished.is_dir() {
        make(packages, &finished, progress.step(1, 1, "base image"))?;
    }
    Ok(finished)
}

fn make(packages: &[&str], finished: &Path, mut step: Step) -> Result<()> {
    if which::find("apt-get").is_none() || which::find("dpkg-deb").is_none() {
        return Err(Error::Machine(format!(
            "the base image of an example worker is made of Debian's packages ({}), and this \
             machine has no apt-get and dpkg-deb; run this on Debian 12",
            packages.join(", ")
        )));
    }
    let archives = finished.with_extension("archives.tmp");
    let unfinished = finished.with_extension("tmp");
    remove_folder(&archives)?;
    remove_folder(&unfinished)?;
    make_folder(&archives.join("partial"))?;
    step.update("downloading");
    download(packages, &archives)?;
    for folder in IN_USR {
        make_folder(&unfinished.join("usr").join(folder))?;
        let link = unfinished.join(folder);
        symlink(Path::new("usr").join(folder), &link)
            .attempt(|| format!("making {}", link.display()))?;
    }
    let mut number = 0;
    for entry in fs::read_dir(&archives).attempt(|| format!("reading {}", archives.display()))? {
        let archive = entry
            .attempt(|| format!("reading {}", archives.display()))?
            .path();
        if archive
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            step.update(&archive.file_stem().unwrap_or_default().to_string_lossy());
            unpack(&archive, &unfinished)?;
            number += 1;
        }
    }
    for folder in LEFT_OUT {
        remove_folder(&unfinished.join(folder))?;
    }
    let certificates = Path::new("/").join(CERTIFICATES);
    let content =
        fs::read(&certificates).attempt(|| format!("reading {}", certificates.display()))?;
    make_folder(&unfinished.join("etc/ssl/certs"))?;
    write_file(&unfinished.join(CERTIFICATES), &content)?;
    for (link, to) in LINKS {
        if unfinished.join(to).exists() {
            let link = unfinished.join(link);
            symlink(Path::new("/").join(to), &link)
                .attempt(|| format!("making {}", link.display()))?;
        }
    }
    make_folder(&unfinished.join("tmp"))?;
    remove_folder(&archives)?;
    fs::rename(&unfinished, finished).attempt(|| format!("naming {}", finished.display()))?;
    step.done(&format!("{number} packages"));
    Ok(())
}

/// Downloads the packages and all that they need, as for a machine on which nothing is installed.
fn download(packages: &[&str], archives: &Path) -> Result<()> {
    run::output(Command::new("apt-get").args(["--quiet", "update"]))?;
    run::output(
        Command::new("apt-get")
            .args(["--quiet", "--yes", "--download-only"])
            .arg("--no-install-recommends")
            .args(["-o", "Dir::State::status=/dev/null"])
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", archives.display()))
            // Otherwise apt downloads as a user that may not write to the cache folder, and warns.
            .args(["-o", "APT::Sandbox::User=root"])
            .arg("install")
            .args(packages),
    )
    .map(drop)
}

fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let mut read = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .attempt(|| "starting dpkg-deb".into())?;
    let content = read.stdout.take();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--keep-directory-symlink", "--directory"])
        .arg(root)
        .stdin(content.map_or_else(Stdio::null, Stdio::from));
    let what = run::describe(&tar);
    let unpacked = tar.status();
    // Closes the pipe, so that dpkg-deb ends even if tar did not start.
    drop(tar);
    let read = read.wait().attempt(|| "waiting for dpkg-deb".into())?;
    let unpacked = unpacked.attempt(|| format!("starting {what}"))?;
    if !unpacked.success() || !read.success() {
        return Err(Error::Command {
            what,
            why: format!("{unpacked}, and dpkg-deb of {}: {read}", archive.display()),
            tail: String::new(),
        });
    }
    Ok(())
}
