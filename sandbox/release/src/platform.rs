//! The platforms that the kubectl plugin is released for. Plain data.

use sandbox_machine::Architecture;

/// An operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    Linux,
    MacOs,
}

/// A system on a processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Platform {
    pub(crate) system: System,
    pub(crate) architecture: Architecture,
}

impl System {
    const ALL: [Self; 2] = [Self::Linux, Self::MacOs];

    /// Its name as Go, Krew and container images have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::MacOs => "darwin",
        }
    }
}

impl Platform {
    pub(crate) fn linux(architecture: Architecture) -> Self {
        Self {
            system: System::Linux,
            architecture,
        }
    }

    pub(crate) fn macos(architecture: Architecture) -> Self {
        Self {
            system: System::MacOs,
            architecture,
        }
    }

    /// As in the names of files: `linux-amd64`.
    pub(crate) fn name(self) -> String {
        format!("{}-{}", self.system.name(), self.architecture.name())
    }

    /// The platform of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let all = System::ALL.into_iter().flat_map(|system| {
            Architecture::ALL.map(|architecture| Self {
                system,
                architecture,
            })
        });
        all.into_iter().find(|platform| platform.name() == name)
    }

    /// The target that Rust compiles for.
    pub(crate) fn target(self) -> &'static str {
        match (self.system, self.architecture) {
            (System::Linux, architecture) => architecture.target(),
            (System::MacOs, Architecture::Amd64) => "x86_64-apple-darwin",
            (System::MacOs, Architecture::Arm64) => "aarch64-apple-darwin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_found_by_its_name() {
        for (name, target) in [
            ("linux-amd64", "x86_64-unknown-linux-musl"),
            ("linux-arm64", "aarch64-unknown-linux-musl"),
            ("darwin-amd64", "x86_64-apple-darwin"),
            ("darwin-arm64", "aarch64-apple-darwin"),
        ] {
            let platform = Platform::of_name(name).unwrap();
            assert_eq!(
                (platform.name().as_str(), platform.target()),
                (name, target)
            );
        }
        assert_eq!(Platform::of_name("windows-amd64"), None);
    }
}
