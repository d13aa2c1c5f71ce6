//! Compiles the binaries of a release with what ships beside them: bills of materials and licences.
//! The stage `build` of the Dockerfile is this command. Starts rustup, cargo and the tools of
//! `tools.rs`.

use std::{ffi::OsStr, path::Path, process::Command};

use sandbox_machine::{
    Architecture, Attempt, Error, Paths, Progress, Result, cargo, checkout, executables, files,
    find_program, lay_out, run,
};

use crate::{
    executable,
    folder::{Built, NOTICES},
    platform::Platform,
    program::Program,
    tools,
};

/// Compiles programs of a release for one architecture with the release profile: those of
/// [`Program::OF_CARGO`], or some of them. Makes `output/ARCHITECTURE/BINARY`, which is the root of
/// an image if the program has one, and beside it `BINARY.cdx.json`.
pub fn compile(
    paths: &Paths,
    architecture: Architecture,
    programs: &[Program],
    output: &Path,
    progress: Progress,
) -> Result<()> {
    let compiler = architecture.compiler(Architecture::HOST);
    if find_program(compiler).is_none() {
        return Err(Error::Machine(format!(
            "{compiler} is not installed, and the C code of the dependencies is compiled with it \
             for {}; on Debian, install {}",
            architecture.name(),
            architecture
                .compiler_packages(Architecture::HOST)
                .join(" and ")
        )));
    }
    let path = tools::path(paths, progress)?;
    let checkout = checkout()?;
    // Nothing happens where the target is installed.
    run::output(
        Command::new("rustup")
            .args(["target", "add", architecture.target()])
            .current_dir(&checkout),
    )?;
    let step = progress.step(1, 1, format!("programs for {}", architecture.name()));
    // Cargo has downloaded what it compiles; the licences are collected from the sources of all
    // crates that the lock file names.
    let mut fetch = cargo();
    fetch.args(["fetch", "--quiet", "--locked"]);
    run::output(fetch.current_dir(&checkout))?;
    let mut command = cargo();
    command
        .args(["auditable", "build", "--release", "--locked"])
        .args(["--workspace", "--target", architecture.target()])
        .env("PATH", &path)
        .envs(architecture.compiler_variables(Architecture::HOST))
        .current_dir(&checkout);
    let names: Vec<&str> = programs.iter().map(|program| program.binary()).collect();
    let binaries = executables(&mut command, &names)?;
    let platform = Platform::linux(architecture);
    let built = Built::new(output, platform);
    for (&program, binary) in programs.iter().zip(binaries) {
        executable::verify(&binary, program, platform)?;
        let folder = temporary_folder(output)?;
        let notices = folder.path().join(NOTICES);
        collect_notices(&path, program, platform, &notices)?;
        lay_out(&built.root(program), program.binary(), &binary, &[notices])?;
        write_bill(&path, &binary, &built.bill_of_materials(program))?;
    }
    step.done("compiled");
    Ok(())
}

/// Writes the licences of all crates in a program, from their sources alone.
pub(crate) fn collect_notices(
    path: &OsStr,
    program: Program,
    platform: Platform,
    notices: &Path,
) -> Result<()> {
    let checkout = checkout()?;
    run::output(
        cargo()
            .args(["about", "generate", "--offline", "--fail"])
            .args(["--target", platform.target(), "--config"])
            .arg(checkout.join("about.toml"))
            .arg("--manifest-path")
            .arg(checkout.join(program.folder()).join("Cargo.toml"))
            .arg("--output-file")
            .arg(notices)
            .arg(checkout.join("about.hbs"))
            .env("PATH", path)
            .current_dir(&checkout),
    )
    .map(drop)
}

/// Writes the bill of materials of a program that `cargo auditable` has built.
pub(crate) fn write_bill(path: &OsStr, program: &Path, bill: &Path) -> Result<()> {
    let mut command = Command::new("auditable2cdx");
    let text = run::output(command.arg(program).env("PATH", path))?;
    files::write_file(bill, text.as_bytes())
}

/// A folder in another that is removed when it is dropped.
pub(crate) fn temporary_folder(folder: &Path) -> Result<tempfile::TempDir> {
    files::make_folder(folder)?;
    tempfile::tempdir_in(folder).attempt(|| format!("creating a folder in {}", folder.display()))
}
