//! Compiles the binaries of a release with what ships beside them: bills of materials and licences.
//! The stage `build` of the Dockerfile is this command. Starts rustup, cargo and the tools of
//! `tools.rs`.

use std::{ffi::OsStr, path::Path, process::Command};

use sandbox_machine::{
    Architecture, Error, Paths, Progress, Result, cargo, checkout, executables, files,
    find_program, lay_out, run,
};

use crate::{
    folder::{Built, NOTICES},
    program::Program,
    tools,
};

/// Compiles the programs of a release for one architecture with the release profile. Makes
/// `output/ARCHITECTURE/BINARY`, which is the root of an image if the program has one, and beside
/// it `BINARY.cdx.json`.
pub fn compile(
    paths: &Paths,
    architecture: Architecture,
    output: &Path,
    progress: Progress,
) -> Result<()> {
    let compiler = architecture.compiler(Architecture::HOST);
    if find_program(compiler).is_none() {
        return Err(Error::Machine(format!(
            "{compiler} is not installed, and the C code of the dependencies is compiled with it \
             for {}; on Debian, install {}",
            architecture.name(),
            architecture.compiler_packages(Architecture::HOST)
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
    progress.say(&format!("compiling for {}", architecture.name()));
    let mut command = cargo();
    command
        .args(["auditable", "build", "--release", "--locked"])
        .args(["--workspace", "--target", architecture.target()])
        .env("PATH", &path)
        .envs(architecture.compiler_variables(Architecture::HOST))
        .current_dir(&checkout);
    let names = Program::OF_CARGO.map(Program::binary);
    let binaries = executables(&mut command, &names)?;
    let built = Built::new(output, architecture);
    for (program, binary) in Program::OF_CARGO.into_iter().zip(binaries) {
        let folder = tempfile_in(output)?;
        let notices = folder.path().join(NOTICES);
        collect_notices(&path, &checkout.join(program.folder()), &checkout, &notices)?;
        lay_out(&built.root(program), program.binary(), &binary, &[notices])?;
        let bill = run::output(
            Command::new("auditable2cdx")
                .arg(&binary)
                .env("PATH", &path),
        )?;
        files::write_file(&built.bill_of_materials(program), bill.as_bytes())?;
    }
    Ok(())
}

/// Writes the licences of all crates in a package's binary, from their sources alone.
fn collect_notices(path: &OsStr, package: &Path, checkout: &Path, notices: &Path) -> Result<()> {
    run::output(
        cargo()
            .args(["about", "generate", "--offline", "--fail", "--config"])
            .arg(checkout.join("about.toml"))
            .arg("--manifest-path")
            .arg(package.join("Cargo.toml"))
            .arg("--output-file")
            .arg(notices)
            .arg(checkout.join("about.hbs"))
            .env("PATH", path)
            .current_dir(checkout),
    )
    .map(drop)
}

/// A folder that is removed when it is dropped.
fn tempfile_in(folder: &Path) -> Result<tempfile::TempDir> {
    files::make_folder(folder)?;
    tempfile::tempdir_in(folder).map_err(|source| Error::Io {
        what: format!("creating a folder in {}", folder.display()),
        source,
    })
}
