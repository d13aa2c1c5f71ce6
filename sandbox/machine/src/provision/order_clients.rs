//! The order system's clients in Go and in Python that the tests run: a program, and a virtual
//! environment with Temporal's SDK from PyPI. Writes to the cache folder, never to the checkout.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    error::{Attempt, Error, Result},
    files::{make_folder, remove_folder},
    paths::Paths,
    progress::{Progress, Step},
    provision::{go, lock::lock, plan},
    run, which,
};

/// What the tests of the order system's clients run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderClients {
    /// The client in Go.
    pub go: PathBuf,
    /// The Python that has what the client in Python needs.
    pub python: PathBuf,
}

/// Makes what is missing of the clients. The machine has been provisioned.
pub(crate) fn provision(paths: &Paths, progress: Progress) -> Result<OrderClients> {
    make_folder(&paths.cache)?;
    let _one_at_a_time = lock(paths, progress)?;
    let module = plan::client();
    let folder = module.folder(&paths.cache);
    let environment = plan::python_client_folder(&paths.cache);
    let clients = OrderClients {
        go: folder.join("order-client"),
        python: environment.join("bin/python"),
    };
    let (no_go, no_python) = (!folder.is_dir(), !environment.is_dir());
    let total = usize::from(no_go) + usize::from(no_python);
    if no_python {
        let step = progress.step(1, total, "temporalio (Python)");
        install(&environment, step)?;
    }
    if no_go {
        if which::find("go").is_none() {
            return Err(Error::Machine(
                "go is not installed, and a client of the order system is built with it; install \
                 Go 1.26 or newer (https://go.dev/dl) and add it to PATH"
                    .into(),
            ));
        }
        let build = go::Build::start(paths, &module)?;
        build.programs(progress.step(total, total, module.name))?;
        build.finish()?;
    }
    Ok(clients)
}

/// Makes the virtual environment. It takes its final name when it is complete; its Python finds
/// itself by where it is.
fn install(environment: &std::path::Path, mut step: Step) -> Result<()> {
    let unfinished = environment.with_extension("venv.tmp");
    remove_folder(&unfinished)?;
    step.update("creating a virtual environment");
    run::output(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&unfinished),
    )?;
    step.update("installing from PyPI");
    let requirements = unfinished.join("requirements.txt");
    crate::files::write_file(&requirements, plan::PYTHON_CLIENT.as_bytes())?;
    run::output(
        Command::new(unfinished.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--no-deps", "--requirement"])
            .arg(&requirements),
    )?;
    fs::rename(&unfinished, environment)
        .attempt(|| format!("renaming a new file to {}", environment.display()))?;
    step.done("installed");
    Ok(())
}
