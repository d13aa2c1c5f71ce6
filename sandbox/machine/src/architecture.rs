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

    /// The C compiler and linker for it on a machine of `host`, as Debian names them.
    pub fn compiler(self, host: Self) -> &'static str {
        match self {
            _ if self == host => "gcc",
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// The packages of Debian that have [`Self::compiler`] and the header files of its C library.
    pub fn compiler_packages(self, host: Self) -> [&'static str; 2] {
        match self {
            _ if self == host => ["gcc", "libc6-dev"],
            Self::Amd64 => ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
            Self::Arm64 => ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        }
    }

    /// A file of the C library that [`Self::compiler`] reads, as Debian places it.
    pub(crate) fn c_header(self, host: Self) -> &'static str {
        match self {
            _ if self == host => "/usr/include/stdlib.h",
            Self::Amd64 => "/usr/x86_64-linux-gnu/include/stdlib.h",
            Self::Arm64 => "/usr/aarch64-linux-gnu/include/stdlib.h",
        }
    }

    /// The variables by which cargo finds [`Self::compiler`]; none on amd64, whose names
    /// `.cargo/config.toml` has.
    pub fn compiler_variables(self, host: Self) -> Vec<(String, &'static str)> {
        if host == Self::Amd64 {
            return Vec::new();
        }
        let target = self.target().replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase());
        let compiler = self.compiler(host);
        vec![(format!("CC_{target}"), compiler), (linker, compiler)]
    }

    /// How programs of this architecture are started here: the words before the program. `None` if
    /// this machine cannot run them.
    pub fn runner(self) -> Option<Vec<PathBuf>> {
        if self == Self::HOST {
            return Some(Vec::new());
        }
        let found = which::find(self.emulator());
        // The name in Debian's package qemu-user-static, and in Ubuntu's.
        let found = found.or_else(|| which::find(&format!("{}-static", self.emulator())));
        found.map(|emulator| vec![emulator])
    }

    /// The emulator of Debian's package qemu-user that runs static programs of this architecture.
    pub(crate) fn emulator(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-x86_64",
            Self::Arm64 => "qemu-aarch64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_machine_compiles_for_both_architectures() {
        use Architecture::{Amd64, Arm64};
        for (architecture, host, compiler) in [
            (Amd64, Amd64, "gcc"),
            (Amd64, Arm64, "x86_64-linux-gnu-gcc"),
            (Arm64, Amd64, "aarch64-linux-gnu-gcc"),
            (Arm64, Arm64, "gcc"),
        ] {
            assert_eq!(architecture.compiler(host), compiler);
        }
        let variables = |target: &str, shouted: &str, compiler| {
            vec![
                (format!("CC_{target}_unknown_linux_musl"), compiler),
                (
                    format!("CARGO_TARGET_{shouted}_UNKNOWN_LINUX_MUSL_LINKER"),
                    compiler,
                ),
            ]
        };
        assert_eq!(
            [Amd64, Arm64].map(|target| target.compiler_variables(Arm64)),
            [
                variables("x86_64", "X86_64", "x86_64-linux-gnu-gcc"),
                variables("aarch64", "AARCH64", "gcc"),
            ]
        );
        assert!(Arm64.compiler_variables(Amd64).is_empty());
    }

    #[test]
    fn the_dockerfile_builds_on_either_machine_for_both_architectures() {
        let file = crate::checkout::checkout().unwrap().join("Dockerfile");
        let text = std::fs::read_to_string(file).unwrap();
        // The target of .cargo/config.toml is that of one machine.
        assert!(text.contains("RUN export CARGO_BUILD_TARGET=\"$(uname -m)-unknown-linux-musl\""));
        let [amd64, arm64] = Architecture::ALL;
        for (host, other) in [(amd64, arm64), (arm64, amd64)] {
            let machine = host.target().split('-').next().unwrap();
            let packages = other.compiler_packages(host).join(" ");
            let case = format!(
                "      \"{machine} {}\") \\\n        gcc={}; packages=\"{packages}\" ;;",
                other.name(),
                other.compiler(host)
            );
            assert!(text.contains(&case), "{case}");
        }
    }
}
