//! The first process inside a sandbox's namespaces: sets up mounts and network, starts the
//! components, keeps them running, takes control requests, and ends with all of them. Acts only
//! inside the namespaces, except for files below the state folder.

use std::{
    net::TcpListener,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    components::{self, Owners},
    error::{Attempt, Error, Result},
    forward::{self, Target},
    machine::Machine,
    net::FORWARDS,
    paths::Paths,
    supervisor::{
        component_states::ComponentStates,
        control_server, namespaces,
        reaper::{self, Reaper},
        runner,
    },
};

use rustix::process::Signal;

/// How long components may take to end in order when the sandbox ends.
const END_TIMEOUT: Duration = Duration::from_secs(4);

/// Runs the sandbox until a request ends it. Never returns to the caller's namespaces.
pub(crate) fn run(machine: &Machine) -> Result<()> {
    if std::process::id() != 1 {
        return Err(Error::Usage(
            "only the sandbox itself starts `sandbox init`, as the first process of its namespaces"
                .into(),
        ));
    }
    let reaper = Reaper::start();
    let owners = owners()?;
    let components = if machine.external_cluster.is_some() {
        namespaces::services_only(machine, &owners, &reaper)?;
        forward_for_external_cluster(&machine.paths)?;
        components::services_only(machine, &owners)
    } else {
        namespaces::cluster(machine, &owners, &reaper)?;
        components::cluster(machine, &owners)
    };
    supervise(machine, &reaper, components)
}

/// With an external cluster: forwards to the proxy of its API and, for a supervisor that may not
/// enter this network, into it.
fn forward_for_external_cluster(paths: &Paths) -> Result<()> {
    let listener = TcpListener::bind(components::API_PROXY)
        .attempt(|| format!("listening on {}", components::API_PROXY))?;
    forward::serve(listener, Target::Socket(paths.api_socket()));
    for forward in FORWARDS.iter().filter(|forward| forward.name != "api") {
        let target = Target::Port(forward.inside);
        forward::serve_socket(&paths.port_socket(forward.inside), target)?;
    }
    Ok(())
}

fn supervise(
    machine: &Machine,
    reaper: &Arc<Reaper>,
    components: Vec<components::Component>,
) -> Result<()> {
    let paths = &machine.paths;
    let states = Arc::new(ComponentStates::new(paths.status_file(), &components)?);
    let (end, ended) = mpsc::channel();
    control_server::serve(&paths.control_socket(), &states, reaper, end)?;
    let environment = Arc::new(runner::environment(machine)?);
    for component in components {
        let runner = runner::Runner {
            log: paths.log(component.name),
            component,
            states: Arc::clone(&states),
            reaper: Arc::clone(reaper),
            environment: Arc::clone(&environment),
            scratch: paths.run(),
        };
        thread::spawn(move || runner.run());
    }
    // The channel closes only if the control server's thread has died: end then, too.
    ended.recv().ok();
    end_components(&states);
    Ok(())
}

/// Lets the components that keep data end in order; everything else ends with this process.
fn end_components(states: &ComponentStates) {
    let deadline = Instant::now() + END_TIMEOUT;
    let processes = states.end();
    // etcd would wait for its clients, and they are among the others.
    for (pid, _) in processes.iter().filter(|(_, stop)| stop.is_none()) {
        reaper::kill(*pid, Signal::KILL);
    }
    for (pid, stop) in processes {
        if let Some(stop) = stop {
            control_server::ask_to_stop(pid, stop);
        }
    }
    states.wait_until_stopped(deadline);
}

fn owners() -> Result<Owners> {
    if !rustix::process::geteuid().is_root() {
        // Without root, no other user is available, and this user is not root.
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        return Ok(Owners {
            postgres: own,
            nobody: own,
        });
    }
    Ok(Owners {
        postgres: namespaces::owner("postgres")?,
        nobody: namespaces::owner("nobody")?,
    })
}
