//! The packages of the distribution that a sandbox needs. Pure.

use crate::provision::plan::Scope;

/// A program of the distribution: the package that has it, and a path that shows it is installed (a
/// bare name is looked for in PATH).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) package: &'static str,
    pub(crate) shown_by: &'static str,
}

impl Package {
    /// Whether a sandbox of this scope needs it.
    pub(crate) fn is_for(self, scope: Scope) -> bool {
        let of_the_cluster = [
            "iptables",
            "conntrack",
            "runc",
            "containernetworking-plugins",
            "lua5.4",
        ];
        scope == Scope::Cluster || !of_the_cluster.contains(&self.package)
    }

    /// Whether nothing can be downloaded without it.
    pub(crate) fn is_for_downloads(&self) -> bool {
        self.package == "ca-certificates"
    }
}

/// Everything that comes from the distribution.
pub(crate) const PACKAGES: [Package; 13] = [
    Package {
        package: "util-linux",
        shown_by: "unshare",
    },
    Package {
        package: "iproute2",
        shown_by: "ip",
    },
    Package {
        package: "iptables",
        shown_by: "iptables",
    },
    Package {
        package: "conntrack",
        shown_by: "conntrack",
    },
    Package {
        package: "runc",
        shown_by: "runc",
    },
    Package {
        package: "containernetworking-plugins",
        shown_by: "/usr/lib/cni/bridge",
    },
    Package {
        package: "buildah",
        shown_by: "buildah",
    },
    Package {
        package: "prometheus",
        shown_by: "prometheus",
    },
    Package {
        package: "postgresql",
        shown_by: "/usr/lib/postgresql",
    },
    Package {
        package: "python3-venv",
        shown_by: "/usr/lib/python3",
    },
    Package {
        package: "python3-aiosmtpd",
        shown_by: "/usr/lib/python3/dist-packages/aiosmtpd/__init__.py",
    },
    // Runs the health check for Argo CD, in a test.
    Package {
        package: "lua5.4",
        shown_by: "lua5.4",
    },
    Package {
        package: "ca-certificates",
        shown_by: "/etc/ssl/certs/ca-certificates.crt",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_with_an_external_cluster_needs_no_package_for_containers() {
        let left_out: Vec<_> = PACKAGES
            .iter()
            .filter(|package| !package.is_for(Scope::Services))
            .map(|package| package.package)
            .collect();
        assert_eq!(
            left_out,
            [
                "iptables",
                "conntrack",
                "runc",
                "containernetworking-plugins",
                "lua5.4"
            ]
        );
    }
}
