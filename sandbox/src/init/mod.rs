//! The first process inside a sandbox's namespaces: makes the world that the components live in, starts them, keeps
//! them running, takes orders, and ends with all of them. Everything it does is inside the namespaces, except for
//! files below the state folder.

mod board;
mod control;
mod reaper;
mod runner;
mod world;

pub(crate) use runner::failure;

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    components::{self, Owners},
    config,
    error::{Error, Result},
    paths::Paths,
    programs::Programs,
    provision::plan,
};

use rustix::process::Signal;

use board::Board;
use reaper::Reaper;

/// How long components may take to end in order when the sandbox ends.
const FAREWELL: Duration = Duration::from_secs(4);

/// Runs the sandbox until it is told to end. Never returns to the caller's namespaces.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    if std::process::id() != 1 {
        return Err(Error::Usage(
            "`sandbox init` is started by the sandbox itself, as the first process of its namespaces".into(),
        ));
    }
    let reaper = Reaper::start();
    let programs = Programs::locate(paths)?;
    let owners = owners()?;
    world::make(paths, &owners, &reaper, &programs)?;
    let components = components::cluster(paths, &programs, &owners);
    supervise(paths, &reaper, components)
}

fn supervise(
    paths: &Paths,
    reaper: &Arc<Reaper>,
    components: Vec<components::Component>,
) -> Result<()> {
    let board = Arc::new(Board::new(paths.status_file(), &components)?);
    let (end, ended) = mpsc::channel();
    control::serve(&paths.control_socket(), &board, reaper, end)?;
    let environment = Arc::new(runner::environment(paths)?);
    for component in components {
        let runner = runner::Runner {
            log: paths.log(component.name),
            component,
            board: Arc::clone(&board),
            reaper: Arc::clone(reaper),
            environment: Arc::clone(&environment),
            scratch: paths.run(),
        };
        thread::spawn(move || runner.run());
    }
    // Nobody sends any more only if the control server's thread has died: end then, too.
    ended.recv().ok();
    farewell(&board);
    Ok(())
}

/// Lets the components that keep data end in order; everything else ends with this process.
fn farewell(board: &Board) {
    let deadline = Instant::now() + FAREWELL;
    let processes = board.end();
    // etcd would wait for its clients, and they are among the others.
    for (pid, _) in processes.iter().filter(|(_, stop)| stop.is_none()) {
        reaper::kill(*pid, Signal::KILL);
    }
    for (pid, stop) in processes {
        if let Some(stop) = stop {
            control::ask_to_stop(pid, stop);
        }
    }
    board.wait_until_stopped(deadline);
}

fn owners() -> Result<Owners> {
    Ok(Owners {
        postgres: world::owner("postgres")?,
        mail: world::owner("nobody")?,
    })
}

/// The facts about this machine that the configuration depends on.
pub(crate) fn machine(paths: &Paths, programs: &Programs) -> config::Machine {
    config::Machine {
        runc: programs.runc.display().to_string(),
        cni_plugins: plan::CNI_FOLDER.into(),
        overlay: !world::is_overlay(&paths.state),
    }
}
