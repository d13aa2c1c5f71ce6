//! The processor architectures that the project is built for. No I/O but for looking for programs.

use std::path::PathBuf;

use crate::which;

/// A processor architecture, by the name that container images have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Architecture {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// That of this machine.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else {
        Self::Amd64
    };

    /// Its name in images, and everywhere a person reads it: `amd64` or `arm64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The architecture of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The target that Rust compiles for.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The C compiler that `.cargo/config.toml` names for the target.
    pub fn compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// How programs of this architecture are started here: the words before the program. `None` if
    /// this machine cannot run them.
    pub fn runner(self) -> Option<Vec<PathBuf>> {
        if self == Self::HOST {
            return Some(Vec::new());
        }
        let emulator = match self {
            Self::Amd64 => "qemu-x86_64-static",
            Self::Arm64 => "qemu-aarch64-static",
        };
        which::find(emulator).map(|found| vec![found])
    }
}
