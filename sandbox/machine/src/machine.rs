//! The paths, programs and cluster of one sandbox: read once and passed down.

use crate::{
    error::Result,
    external_cluster::ExternalCluster,
    paths::{Name, Paths},
    programs::Programs,
    progress::Progress,
    provision::{self, Scope},
};

/// The folders, the programs and the cluster of one sandbox.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its folders and files.
    pub paths: Paths,
    /// The programs that it runs.
    pub programs: Programs,
    /// The cluster that it uses instead of one of its own, if any.
    pub external_cluster: Option<ExternalCluster>,
}

impl Machine {
    /// Reads the environment and the state of the sandbox of this name.
    pub fn read(name: &Name) -> Result<Self> {
        let paths = Paths::of(name)?;
        Ok(Self {
            programs: Programs::locate(&paths)?,
            external_cluster: ExternalCluster::read(&paths)?,
            paths,
        })
    }

    /// Installs and builds what is missing, and finds the programs again: some may be new.
    pub(crate) fn provision(&mut self, progress: Progress) -> Result<()> {
        let scope = if self.external_cluster.is_some() {
            Scope::Services
        } else {
            Scope::Cluster
        };
        provision::provision(&self.paths, scope, progress)?;
        self.programs = Programs::locate(&self.paths)?;
        Ok(())
    }
}
