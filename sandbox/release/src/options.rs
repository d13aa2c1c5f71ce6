//! What to release, and whether it can be. Pure.

use std::path::PathBuf;

use sandbox_machine::{Architecture, Error, Result};

/// What to release, and where to put it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The registry and path of the images, such as `ghcr.io/owner`, in lower case.
    pub registry: String,
    /// The address of the repository, such as `https://github.com/owner/taskqueue-operator`.
    pub source: String,
    /// The architectures.
    pub architectures: Vec<Architecture>,
    /// A folder that [`crate::compile`] has made. The worker of the quick start is added to it.
    /// `None` compiles.
    pub binaries: Option<PathBuf>,
    /// A folder with the kubectl plugin for macOS, in a folder per architecture, such as
    /// `arm64/kubectl-tqw`. `None` releases none.
    pub macos: Option<PathBuf>,
    /// The folder to make. A release that is there is replaced.
    pub output: PathBuf,
}

impl Options {
    /// The same without slashes at the end of addresses. An error if images cannot have names in
    /// this registry, if the repository has no web address, or if an architecture is named twice.
    pub(crate) fn checked(mut self) -> Result<Self> {
        for address in [&mut self.registry, &mut self.source] {
            address.truncate(address.trim_end_matches('/').len());
        }
        let of_a_name = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | '/')
        };
        let registry = &self.registry;
        if registry.is_empty() || registry.contains("//") || !registry.chars().all(of_a_name) {
            return Err(Error::Usage(format!(
                "--registry {registry:?}: images cannot have such a name; write host and path in \
                 lower case, such as ghcr.io/owner"
            )));
        }
        let host = self.source.strip_prefix("https://");
        if host.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
            return Err(Error::Usage(format!(
                "--source {:?}: this is no address of a repository; write one such as \
                 https://github.com/owner/repository",
                self.source
            )));
        }
        for (number, architecture) in self.architectures.iter().enumerate() {
            if self.architectures[..number].contains(architecture) {
                let name = architecture.name();
                return Err(Error::Usage(format!("--arch names {name} twice")));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(registry: &str, source: &str) -> Options {
        Options {
            registry: registry.into(),
            source: source.into(),
            architectures: vec![Architecture::Amd64, Architecture::Arm64],
            binaries: None,
            macos: None,
            output: "dist".into(),
        }
    }

    #[test]
    fn addresses_lose_the_slashes_at_their_end() {
        let checked = options("localhost:5000/team/", "https://example.com/repository//");
        let checked = checked.checked().unwrap();
        assert_eq!(checked.registry, "localhost:5000/team");
        assert_eq!(checked.source, "https://example.com/repository");
    }

    #[test]
    fn what_cannot_be_released_is_refused_before_anything_is_compiled() {
        let source = "https://example.com/repository";
        for registry in ["", "ghcr.io/OWNER", "https://ghcr.io/owner", "ghcr.io//a"] {
            let error = options(registry, source).checked().unwrap_err();
            assert!(error.to_string().starts_with("--registry "), "{error}");
        }
        for source in ["", "example.com/repository", "https://", "https://a b"] {
            let error = options("ghcr.io/owner", source).checked().unwrap_err();
            assert!(error.to_string().starts_with("--source "), "{error}");
        }
        let mut twice = options("ghcr.io/owner", source);
        twice.architectures = vec![Architecture::Arm64; 2];
        assert_eq!(
            twice.checked().unwrap_err().to_string(),
            "--arch names arm64 twice"
        );
    }
}
