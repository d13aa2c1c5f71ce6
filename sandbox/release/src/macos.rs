//! The kubectl plugin for macOS. It needs Apple's frameworks, so only a Mac links it; this takes
//! the finished programs and adds what ships beside them. Starts the tools of `tools.rs`.

use std::path::{Path, PathBuf};

use sandbox_machine::{Architecture, Error, Paths, Progress, Result, lay_out};

use crate::{
    binaries, executable,
    folder::{Built, NOTICES},
    platform::Platform,
    program::{PLUGIN, Program},
    tools,
};

/// Takes the programs from `from/ARCHITECTURE/kubectl-tqw`, and makes in `output` for each what
/// [`crate::compile`] makes for Linux. Returns their platforms.
pub(crate) fn prepare(
    paths: &Paths,
    from: &Path,
    output: &Path,
    progress: Progress,
) -> Result<Vec<Platform>> {
    let platforms = found(from)?;
    let path = tools::path(paths, progress)?;
    for &platform in &platforms {
        let built = Built::new(output, platform);
        let folder = binaries::temporary_folder(output)?;
        let notices = folder.path().join(NOTICES);
        binaries::collect_notices(&path, Program::Plugin, platform, &notices)?;
        let program = program(from, platform.architecture);
        lay_out(&built.root(Program::Plugin), PLUGIN, &program, &[notices])?;
        binaries::write_bill(&path, &program, &built.bill_of_materials(Program::Plugin))?;
    }
    Ok(platforms)
}

fn program(from: &Path, architecture: Architecture) -> PathBuf {
    from.join(architecture.name()).join(PLUGIN)
}

/// The platforms for which the folder has a program. An error if it has none, or one for another.
pub(crate) fn found(from: &Path) -> Result<Vec<Platform>> {
    let mut platforms = Vec::new();
    for architecture in Architecture::ALL {
        let program = program(from, architecture);
        if program.is_file() {
            let platform = Platform::macos(architecture);
            executable::verify(&program, Program::Plugin, platform)?;
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        let [amd64, arm64] = Architecture::ALL.map(|it| program(from, it).display().to_string());
        return Err(Error::Usage(format!(
            "--macos: there is no {arm64} and no {amd64}; build one on a Mac with `cargo auditable \
             build --release --package taskqueue-cli --target aarch64-apple-darwin`"
        )));
    }
    Ok(platforms)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_without_a_program_for_macos_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = found(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("--macos: there is no "), "{error}");
        fs::create_dir(folder.path().join("arm64")).unwrap();
        let own = std::env::current_exe().unwrap();
        fs::copy(own, folder.path().join("arm64").join(PLUGIN)).unwrap();
        let error = found(folder.path()).unwrap_err().to_string();
        assert!(error.contains("instead of (MachO, Aarch64)"), "{error}");
    }
}
