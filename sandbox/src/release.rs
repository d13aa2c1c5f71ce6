//! The commands `binaries` and `release`: their flags, and what they print.

use std::path::PathBuf;

use clap::Args;
use sandbox_machine::{Architecture, Paths, Progress};
use sandbox_release::{Options, Program, check, compile, make};

use crate::stdout::print;

/// Flags of `binaries`.
#[derive(Debug, Args)]
pub(crate) struct Binaries {
    /// The folder; what is made is in ARCHITECTURE/BINARY and ARCHITECTURE/BINARY.cdx.json below.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The architecture; may be repeated.
    #[arg(long, value_name = "ARCHITECTURE", default_value = "amd64")]
    arch: Vec<Architecture>,
    /// Compile this program alone; may be repeated. Default: all that cargo compiles.
    #[arg(long, value_name = "PROGRAM", value_delimiter = ',', value_parser = program)]
    program: Vec<Program>,
}

fn program(name: &str) -> Result<Program, String> {
    Program::of_name(name).ok_or_else(|| {
        let known = Program::OF_CARGO.map(Program::binary);
        format!("cargo compiles {}", known.join(", "))
    })
}

impl Binaries {
    pub(crate) fn run(&self, paths: &Paths) -> anyhow::Result<()> {
        let programs = match self.program.as_slice() {
            [] => &Program::OF_CARGO,
            named => named,
        };
        for architecture in &self.arch {
            compile(
                paths,
                *architecture,
                programs,
                &self.folder,
                Progress::default(),
            )?;
        }
        Ok(())
    }
}

/// Flags of `release`.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Check this folder of a release instead of making one.
    #[arg(
        long,
        value_name = "FOLDER",
        conflicts_with_all = ["registry", "source", "arch", "binaries", "macos", "output"]
    )]
    check: Option<PathBuf>,
    /// Registry and path that the images will have, in lower case, such as ghcr.io/owner.
    #[arg(long, value_name = "HOST/PATH", required_unless_present = "check")]
    registry: Option<String>,
    /// The web address of the repository, beginning with https.
    #[arg(long, value_name = "URL", required_unless_present = "check")]
    source: Option<String>,
    /// An architecture of the images and programs; may be repeated.
    #[arg(long, value_name = "ARCHITECTURE", default_value = "amd64")]
    arch: Vec<Architecture>,
    /// A folder that `cargo sandbox binaries` has made, instead of compiling. The quick start's
    /// worker is added to it.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// A folder with the kubectl plugin for macOS, built on a Mac: arm64/kubectl-tqw,
    /// amd64/kubectl-tqw or both.
    #[arg(long, value_name = "FOLDER")]
    macos: Option<PathBuf>,
    /// The folder to make. A release that is there is replaced.
    #[arg(long, value_name = "FOLDER", default_value = "dist")]
    output: PathBuf,
}

impl Release {
    pub(crate) fn run(self, paths: &Paths) -> anyhow::Result<()> {
        let found = if let Some(folder) = self.check {
            check(paths, &folder)?
        } else {
            let options = Options {
                registry: self.registry.unwrap_or_default(),
                source: self.source.unwrap_or_default(),
                architectures: self.arch,
                binaries: self.binaries,
                macos: self.macos,
                output: self.output,
            };
            make(paths, options, Progress::default())?
        };
        for line in found {
            print(&format!("{line}\n"))?;
        }
        Ok(())
    }
}
