//! The supervisor process: holds the loopback ports, starts the init process in namespaces of its
//! own, and cleans up after it. Every public function runs in a process of its own.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    cgroup,
    error::{Attempt, Error, Result},
    files,
    forward::{self, Target},
    machine::Machine,
    net::{self, Ports},
    paths::Paths,
    pki,
    process::{self, Process},
    progress::Progress,
    supervisor::{
        lifecycle::clear,
        processes::{API_PROXY, ENTER, INIT, Supervisor, kill, own_command},
    },
};

/// Runs the sandbox. Called in a process of its own.
pub(crate) fn run(machine: &Machine) -> Result<()> {
    let paths = &machine.paths;
    // A closing terminal must not end the sandbox. The call fails only for a session leader.
    rustix::process::setsid().ok();
    let mut record = Supervisor {
        supervisor: Process::of(own_pid()?)?,
        init: None,
    };
    files::write_json(&paths.supervisor_file(), &record)?;
    let bound = bind(machine)?;
    let mut namespaces = enter(paths)?;
    let init = init_of(&mut namespaces)?;
    record.init = Some(Process::of(init)?);
    files::write_json(&paths.supervisor_file(), &record)?;
    serve(paths, init, bound)?;
    let watched = (paths.clone(), record.clone());
    thread::spawn(move || end_with_the_record(&watched.0, &watched.1));
    if machine.external_cluster.is_some() {
        let paths = paths.clone();
        thread::spawn(move || keep_api_proxy(&paths));
    }
    let status = namespaces
        .wait()
        .attempt(|| "waiting for the init process".into())?;
    clear(paths)?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Machine(format!(
            "the init process ended unexpectedly: {status}"
        )))
    }
}

fn bind(machine: &Machine) -> Result<Vec<net::Bound>> {
    let paths = &machine.paths;
    let before: Ports = files::read_json(&paths.ports_file())?.unwrap_or_default();
    let bound = if let Some(external) = &machine.external_cluster {
        net::bind_for_external_cluster(&paths.name, &before, external.host_address)?
    } else {
        pki::ensure(paths)?;
        cgroup::create(&paths.cgroup())?;
        net::bind_all(&paths.name, &before)?
    };
    let mut ports = Ports::new();
    for (forward, listener) in &bound {
        let address = listener
            .local_addr()
            .attempt(|| format!("reading the address for {}", forward.name))?;
        ports.insert(forward.name.to_owned(), address.port());
    }
    files::write_json(&paths.ports_file(), &ports)?;
    if let Some(port) = ports.get("api") {
        let server = format!("https://127.0.0.1:{port}");
        let config = pki::kubeconfig(&paths.pki(), "admin", &server);
        files::write_json(&paths.kubeconfig(), &config)?;
    }
    Ok(bound)
}

fn serve(paths: &Paths, init: i32, bound: Vec<net::Bound>) -> Result<()> {
    // Only root may enter the sandbox's network; other users reach it through sockets.
    let namespace = if rustix::process::geteuid().is_root() {
        Some(forward::namespace_of(init)?)
    } else {
        None
    };
    for (forward, listener) in bound {
        let target = match &namespace {
            Some(namespace) => Target::Inside(namespace.clone(), forward.inside),
            None => Target::Socket(paths.port_socket(forward.inside)),
        };
        forward::serve(listener, target);
    }
    Ok(())
}

/// Ends the sandbox if its record is removed: without the record, no command can find it.
fn end_with_the_record(paths: &Paths, own: &Supervisor) {
    let is_recorded = || {
        let record = files::read_json::<Supervisor>(&paths.supervisor_file());
        record.ok().flatten().as_ref() == Some(own)
    };
    while is_recorded() {
        thread::sleep(Duration::from_secs(2));
    }
    if let Some(init) = &own.init {
        kill(init, INIT);
    }
}

/// Keeps `kubectl proxy` running, through which the sandbox reaches the API of an external cluster.
fn keep_api_proxy(paths: &Paths) {
    loop {
        let ended = own_command(&paths.name, API_PROXY)
            .and_then(|mut command| command.status().attempt(|| "starting kubectl proxy".into()));
        // This goes to the supervisor's log.
        Progress::default().say(&format!(
            "kubectl proxy exited ({ended:?}) and is restarted"
        ));
        thread::sleep(Duration::from_secs(1));
    }
}

/// Becomes `kubectl proxy` for the external cluster.
pub(crate) fn become_api_proxy(machine: &Machine) -> Result<()> {
    let paths = &machine.paths;
    die_with_supervisor(paths)?;
    let socket = paths.api_socket();
    // A socket left by an earlier proxy would prevent the bind.
    fs::remove_file(&socket).ok();
    let source = Command::new(&machine.programs.kubectl)
        .env("KUBECONFIG", paths.kubeconfig())
        .arg("proxy")
        .arg(format!("--unix-socket={}", socket.display()))
        .exec();
    Err(Error::Io {
        what: "starting kubectl proxy".into(),
        source,
    })
}

fn own_pid() -> Result<i32> {
    i32::try_from(std::process::id())
        .map_err(|_| Error::Machine("the process id is larger than 2^31".into()))
}

/// Starts `sandbox enter`, which becomes `unshare`, which starts `sandbox init`.
fn enter(paths: &Paths) -> Result<Child> {
    own_command(&paths.name, ENTER)?
        .stdin(Stdio::null())
        .spawn()
        .attempt(|| "starting the sandbox's namespaces".into())
}

/// Has the kernel kill this process when the supervisor dies, however it dies.
fn die_with_supervisor(paths: &Paths) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .attempt(|| "making a process end with the supervisor".into())?;
    let supervisor: Option<Supervisor> = files::read_json(&paths.supervisor_file())?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if supervisor.map(|record| record.supervisor.pid) == parent {
        Ok(())
    } else {
        Err(Error::Usage(
            "only `sandbox supervise` starts this command".into(),
        ))
    }
}

/// Becomes `unshare`, which dies with the supervisor, has the kernel kill the init process when it
/// dies itself; and with the init process everything in its namespaces ends.
pub(crate) fn become_namespaces(paths: &Paths) -> Result<()> {
    die_with_supervisor(paths)?;
    let own = std::env::current_exe().attempt(|| "finding the sandbox's own program".into())?;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // In a user namespace of its own, an ordinary user may make the other namespaces, too.
        // PostgreSQL refuses to run as root, so the user stays who it is.
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    let source = command
        .args(["--mount", "--pid", "--net", "--uts", "--ipc"])
        .args(["--fork", "--kill-child", "--mount-proc", "--"])
        .arg(own)
        .args(["--name", paths.name.as_str(), INIT])
        .exec();
    Err(Error::Io {
        what: "starting unshare (package util-linux)".into(),
        source,
    })
}

/// The init process: the only child of `unshare`.
fn init_of(namespaces: &mut Child) -> Result<i32> {
    let parent = i32::try_from(namespaces.id())
        .map_err(|_| Error::Machine("the process id is larger than 2^31".into()))?;
    loop {
        if let Some(init) = process::children_of(parent).first() {
            return Ok(*init);
        }
        if let Ok(Some(status)) = namespaces.try_wait() {
            return Err(Error::Machine(format!(
                "the sandbox's namespaces cannot be created: {status}"
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
}
