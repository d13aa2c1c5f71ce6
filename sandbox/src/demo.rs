//! The command `demo`: its flags.

use std::path::PathBuf;

use clap::Args;
use sandbox_machine::{KubernetesVersion, Name, Progress, Sandbox};

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Number of orders, from the start of the file; the file repeats if it has fewer. Default: all
    /// orders of the file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    orders: Option<u32>,
    /// A file of orders, one JSON object per line. Default: sandbox/demo/orders.jsonl.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A folder with static binaries for the images. Default: cargo builds them.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Draw the Grafana dashboard of the run into this SVG file.
    #[arg(long, value_name = "FILE.svg")]
    picture: Option<PathBuf>,
    /// The version of Kubernetes, when the sandbox has no cluster yet. Default: 1.36.
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<KubernetesVersion>,
}

impl Demo {
    pub(crate) fn run(self, name: &Name) -> anyhow::Result<()> {
        if let Some(version) = self.kubernetes {
            Sandbox::use_kubernetes(name, version)?;
        }
        let options = sandbox_demo::Options {
            orders: self.orders.map(usize::try_from).transpose()?,
            file: self.file,
            binaries: self.binaries,
            picture: self.picture,
        };
        Ok(sandbox_demo::run(name, &options, Progress::default())?)
    }
}
