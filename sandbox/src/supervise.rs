//! The process that stays: it holds the loopback ports, starts the init process in namespaces of its own, and clears
//! up after it. And its counterpart for the command line: finding it, starting it, ending it.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::{
    cgroup, control,
    error::{Attempt, Error, Result},
    foreign::Foreign,
    forward::{self, Target},
    net::{self, Ports},
    paths::{Name, Paths},
    pki,
    programs::Programs,
    progress::Progress,
    state::{self, Process},
};

/// The words by which our own processes are known in their command lines.
pub(crate) const SUPERVISE: &str = "supervise";
pub(crate) const ENTER: &str = "enter";
pub(crate) const INIT: &str = "init";
pub(crate) const API_PROXY: &str = "api-proxy";

/// How long the end of a sandbox may take before it is forced.
const END_PATIENCE: Duration = Duration::from_secs(12);

/// Which processes make up the sandbox, as the machine counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Supervisor {
    supervisor: Process,
    init: Option<Process>,
}

/// Runs the sandbox. Called in a process of its own.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    // A terminal that closes must not take the sandbox with it. It fails only where it is so already.
    rustix::process::setsid().ok();
    let mut record = Supervisor {
        supervisor: Process::of(own_pid()?)?,
        init: None,
    };
    state::write_json(&paths.supervisor_file(), &record)?;
    let foreign = Foreign::read(paths)?;
    let bound = bind(paths, foreign.as_ref())?;
    let mut namespaces = enter(paths)?;
    let init = init_of(&mut namespaces)?;
    record.init = Some(Process::of(init)?);
    state::write_json(&paths.supervisor_file(), &record)?;
    serve(paths, init, bound)?;
    let watched = (paths.clone(), record.clone());
    thread::spawn(move || end_with_the_record(&watched.0, &watched.1));
    if foreign.is_some() {
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

fn bind(paths: &Paths, foreign: Option<&Foreign>) -> Result<Vec<net::Bound>> {
    let before: Ports = state::read_json(&paths.ports_file())?.unwrap_or_default();
    let bound = if let Some(foreign) = foreign {
        net::bind_beside(&paths.name, &before, foreign.host_address)?
    } else {
        pki::ensure(paths)?;
        cgroup::create(&paths.cgroup())?;
        net::bind_all(&paths.name, &before)?
    };
    let mut ports = Ports::new();
    for (forward, listener) in &bound {
        let address = listener
            .local_addr()
            .attempt(|| format!("the address for {}", forward.name))?;
        ports.insert(forward.name.to_owned(), address.port());
    }
    state::write_json(&paths.ports_file(), &ports)?;
    if let Some(port) = ports.get("api") {
        let server = format!("https://127.0.0.1:{port}");
        let config = pki::kubeconfig(&paths.pki(), "admin", &server);
        state::write_json(&paths.kubeconfig(), &config)?;
    }
    Ok(bound)
}

fn serve(paths: &Paths, init: i32, bound: Vec<net::Bound>) -> Result<()> {
    // Only root may enter the sandbox's network; for others there are sockets that lead into it.
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

/// A sandbox whose record is gone (someone removed its folder) could never be found again to be ended: it ends itself.
fn end_with_the_record(paths: &Paths, own: &Supervisor) {
    let is_recorded = || {
        let record = state::read_json::<Supervisor>(&paths.supervisor_file());
        record.ok().flatten().as_ref() == Some(own)
    };
    while is_recorded() {
        thread::sleep(Duration::from_secs(2));
    }
    if let Some(init) = &own.init {
        kill(init, INIT);
    }
}

/// Keeps `kubectl proxy` running: the way from inside the sandbox to the API of a foreign cluster.
fn keep_api_proxy(paths: &Paths) {
    loop {
        let ended = own_command(&paths.name, API_PROXY)
            .and_then(|mut command| command.status().attempt(|| "starting kubectl proxy".into()));
        // The supervisor's log is the place where a person would look.
        Progress::default().say(&format!(
            "kubectl proxy ended ({ended:?}) and is started again"
        ));
        thread::sleep(Duration::from_secs(1));
    }
}

/// Becomes `kubectl proxy` for the foreign cluster.
pub(crate) fn become_api_proxy(paths: &Paths) -> Result<()> {
    die_with_supervisor(paths)?;
    let socket = paths.api_socket();
    // What an earlier one left would be in the way.
    fs::remove_file(&socket).ok();
    let source = Command::new(Programs::locate(paths)?.kubectl)
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
    i32::try_from(std::process::id()).map_err(|_| Error::Machine("a process id beyond 2^31".into()))
}

/// Starts `sandbox enter`, which becomes `unshare`, which starts `sandbox init`.
fn enter(paths: &Paths) -> Result<Child> {
    own_command(&paths.name, ENTER)?
        .stdin(Stdio::null())
        .spawn()
        .attempt(|| "starting the sandbox's namespaces".into())
}

fn own_command(name: &Name, word: &str) -> Result<Command> {
    let own = std::env::current_exe().attempt(|| "finding the sandbox's own program".into())?;
    let mut command = Command::new(own);
    command
        .args(["--name", name.as_str(), word])
        .current_dir("/");
    Ok(command)
}

/// Has the kernel kill this process when the supervisor dies, however it dies.
fn die_with_supervisor(paths: &Paths) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .attempt(|| "tying a process to the supervisor".into())?;
    let supervisor: Option<Supervisor> = state::read_json(&paths.supervisor_file())?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if supervisor.map(|record| record.supervisor.pid) == parent {
        Ok(())
    } else {
        Err(Error::Usage(
            "this is started by `sandbox supervise` alone".into(),
        ))
    }
}

/// Becomes `unshare`, which dies with the supervisor, has the kernel kill the init process when it dies itself; and with
/// the init process everything in its namespaces ends.
pub(crate) fn become_namespaces(paths: &Paths) -> Result<()> {
    die_with_supervisor(paths)?;
    let own = std::env::current_exe().attempt(|| "finding the sandbox's own program".into())?;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // In a user namespace of its own, an ordinary user may make the other namespaces, too. PostgreSQL refuses to
        // run as root, so the user stays who it is.
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
        .map_err(|_| Error::Machine("a process id beyond 2^31".into()))?;
    loop {
        if let Some(init) = state::children_of(parent).first() {
            return Ok(*init);
        }
        if let Ok(Some(status)) = namespaces.try_wait() {
            return Err(Error::Machine(format!(
                "the sandbox's namespaces cannot be made: {status}"
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a supervisor for a sandbox that has none.
pub(crate) fn start(paths: &Paths) -> Result<Child> {
    for folder in [paths.run(), paths.logs()] {
        state::make_folder(&folder)?;
    }
    rotate_logs(&paths.logs())?;
    let log = open_log(&paths.log("supervisor"))?;
    let errors = log
        .try_clone()
        .attempt(|| "opening the supervisor's log".into())?;
    own_command(&paths.name, SUPERVISE)?
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .attempt(|| "starting the supervisor".into())
}

fn open_log(file: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .attempt(|| format!("opening {}", file.display()))
}

/// Keeps the logs of one earlier run as `NAME.log.1`.
fn rotate_logs(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).attempt(|| format!("reading {}", folder.display()))?;
    for file in entries.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            let mut earlier = file.clone().into_os_string();
            earlier.push(".1");
            fs::rename(&file, &earlier).attempt(|| format!("renaming {}", file.display()))?;
        }
    }
    Ok(())
}

/// The network namespace of a sandbox that is up, held open.
pub(crate) fn network(paths: &Paths) -> Result<Arc<File>> {
    let record: Option<Supervisor> = state::read_json(&paths.supervisor_file())?;
    let init = record.and_then(|record| record.init);
    match init.filter(|init| is_ours(init, INIT)) {
        Some(init) => forward::namespace_of(init.pid),
        None => Err(Error::NotUp(paths.name.to_string())),
    }
}

/// Whether the sandbox's supervisor and init process are there.
pub(crate) fn is_up(paths: &Paths) -> Result<bool> {
    let record: Option<Supervisor> = state::read_json(&paths.supervisor_file())?;
    Ok(record.is_some_and(|record| {
        is_ours(&record.supervisor, SUPERVISE)
            && record.init.is_none_or(|init| is_ours(&init, INIT))
    }))
}

fn is_ours(process: &Process, word: &str) -> bool {
    process.is_alive() && process.runs(word)
}

/// Ends a sandbox and clears up; harmless where there is none.
pub(crate) fn end(paths: &Paths) -> Result<()> {
    let record: Option<Supervisor> = state::read_json(&paths.supervisor_file())?;
    if let Some(record) = record {
        let processes: Vec<(&Process, &str)> = [
            Some((&record.supervisor, SUPERVISE)),
            record.init.as_ref().map(|init| (init, INIT)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let gone = || {
            processes
                .iter()
                .all(|(process, word)| !is_ours(process, word))
        };
        // Asked over its socket, the init process ends its components in order. If it does not answer, it is killed.
        let asked = control::send(&paths.control_socket(), &control::Order::End, END_PATIENCE);
        if asked.is_err() || !within(END_PATIENCE, gone) {
            for (process, word) in &processes {
                kill(process, word);
            }
            if !within(END_PATIENCE, gone) {
                return Err(Error::Machine(format!(
                    "process {} does not end; look at it with ps",
                    record.supervisor.pid
                )));
            }
        }
    }
    clear(paths)
}

/// Kills a process that is certainly ours; a process id may have been given to another since.
fn kill(process: &Process, word: &str) {
    if is_ours(process, word)
        && let Some(pid) = Pid::from_raw(process.pid)
    {
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}

fn within(patience: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Removes what a sandbox that has ended leaves behind: cgroups and the run folder.
fn clear(paths: &Paths) -> Result<()> {
    cgroup::remove(&paths.cgroup())?;
    state::remove_folder(&paths.run())
}
