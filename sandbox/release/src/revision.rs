//! Which commit a release is made of. Starts git.

use std::process::Command;

use sandbox_machine::{Error, Result, checkout, run};

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Its hash, with `-dirty` if files that git knows have changed since.
    pub(crate) name: String,
    /// When it was made, in seconds since 1970.
    pub(crate) time: u64,
}

impl Revision {
    /// That of the checkout.
    pub(crate) fn current() -> Result<Self> {
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(checkout()?).args(args);
            run::output(&mut command).map(|text| text.trim().to_owned())
        };
        let hash = git(&["rev-parse", "HEAD"])?;
        let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
        let time = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
        let suffix = if changes.is_empty() { "" } else { "-dirty" };
        Ok(Self {
            name: hash + suffix,
            time: time
                .parse()
                .map_err(|error| Error::source("the time of the commit", format!("{error}")))?,
        })
    }
}
