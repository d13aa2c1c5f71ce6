//! How each example is built. Pure.

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
    /// What makes the content of the stage `build`: each command runs in the folder `{work}`, which
    /// has the files above, and `{build}` is the root of the stage.
    pub(super) commands: &'static [&'static [&'static str]],
}

/// The worker in Go.
pub(crate) const GO: Example = Example {
    folder: "go",
    files: &["Dockerfile", "go.mod", "go.sum", "greeting.go", "main.go"],
    base: &[],
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
