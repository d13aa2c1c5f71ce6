//! Finds or builds the measured workers: the order worker with cargo, the others with their own
//! tools, and their images with the project's Dockerfile. Reports and skips what cannot be built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use order_worker_testkit::binary;

use crate::Args;
use crate::cargo::{self, scratch};

/// A worker that is ready to start.
pub(crate) struct Built {
    pub(crate) name: &'static str,
    /// The version of what runs, and how it was built.
    pub(crate) version: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Size of the image's archive in bytes, if it was built.
    pub(crate) image: Option<u64>,
}

/// Builds everything that the arguments ask for, the order worker first. An error says why there is
/// no order worker.
pub(crate) fn all(args: &Args) -> anyhow::Result<Vec<Built>> {
    let worker = match &args.worker {
        Some(file) => binary::find(file)?,
        None => order_worker()?,
    };
    let mut all = vec![finished("order-worker", worker)?];
    if let Some(beside) = &args.beside {
        all.push(finished("beside", binary::find(beside)?)?);
    }
    if !args.no_go {
        all.extend(go_worker());
    }
    if !args.no_python {
        all.extend(python_worker());
    }
    Ok(all)
}

fn finished(name: &'static str, program: PathBuf) -> anyhow::Result<Built> {
    Ok(Built {
        name,
        version: binary::describe(&program)?,
        image: image(name, &program),
        program,
        arguments: vec!["run".into()],
    })
}

fn order_worker() -> anyhow::Result<PathBuf> {
    eprintln!("building order-worker with the profile release");
    cargo::order_worker()
}

fn go_worker() -> Option<Built> {
    let program = scratch().join("go-worker");
    let built = run(Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags", "-s -w", "-o"])
        .arg(&program)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(sources("go")))
    .and_then(|_| run(Command::new("go").arg("version")));
    let version = match built {
        Ok(version) => version,
        Err(why) => {
            eprintln!("without the worker in Go: {why}");
            return None;
        }
    };
    Some(Built {
        name: "Go",
        image: image("Go", &program),
        version,
        program,
        arguments: Vec::new(),
    })
}

/// Runs from a virtual environment, so there is no comparable image.
fn python_worker() -> Option<Built> {
    let environment = scratch().join("venv");
    let program = environment.join("bin/python");
    let built = run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment))
    .and_then(|_| {
        run(Command::new(&program)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(sources("python").join("requirements.txt")))
    })
    .and_then(|_| run(Command::new(&program).arg("--version")));
    let version = match built {
        Ok(version) => version,
        Err(why) => {
            eprintln!("without the worker in Python: {why}");
            return None;
        }
    };
    Some(Built {
        name: "Python",
        version,
        program,
        arguments: vec![sources("python").join("worker.py").into()],
        image: None,
    })
}

fn sources(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches")
        .join(folder)
}

/// Puts a binary into the order worker's image and returns the size of its archive.
fn image(name: &str, program: &Path) -> Option<u64> {
    let folder = scratch().join(format!("image-{name}"));
    let size = image_in(&folder, program);
    // Only the size is kept.
    let _left_behind = std::fs::remove_dir_all(&folder);
    match size {
        Ok(size) => Some(size),
        Err(why) => {
            eprintln!("without the size of {name}'s image: {why}");
            None
        }
    }
}

fn image_in(folder: &Path, program: &Path) -> Result<u64, String> {
    let (build, archive) = (folder.join("build"), folder.join("image.tar"));
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    // What the stage `build` of the Dockerfile would make: the root of the image.
    let root = build.join(architecture).join("order-worker");
    let text = |error: std::io::Error| error.to_string();
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    std::fs::create_dir_all(root.join("etc/ssl/certs")).map_err(text)?;
    std::fs::copy(program, root.join("order-worker")).map_err(text)?;
    std::fs::copy(Path::new("/").join(certificates), root.join(certificates))
        .map_err(|error| format!("/{certificates}: {error}"))?;
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(folder.join("root"))
            .arg("--runroot")
            .arg(folder.join("run"));
        command
    };
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
    run(buildah()
        .args(["build", "--quiet", "--isolation=chroot", "--format=docker"])
        .args(["--target", "order-worker", "--tag", "bench"])
        .arg(format!("--build-arg=TARGETARCH={architecture}"))
        .arg(format!("--build-context=build={}", build.display()))
        .arg("--file")
        .arg(dockerfile)
        .arg(&build))?;
    let destination = format!("docker-archive:{}:bench", archive.display());
    run(buildah().args(["push", "--quiet", "bench", &destination]))?;
    Ok(std::fs::metadata(&archive).map_err(text)?.len())
}

/// Runs a command to its end and returns what it printed. An error says why it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program}` failed:\n{}", stderr.trim_end()))
}
