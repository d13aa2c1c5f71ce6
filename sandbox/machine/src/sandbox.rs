//! The sandbox as a library: bring it up, find it, get its addresses, control its components, end
//! it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use crate::{
    buildah,
    error::{Attempt, Error, Result},
    external_cluster::ExternalCluster,
    files, forward,
    image::Image,
    kubernetes_version::KubernetesVersion,
    machine::Machine,
    net::{NODE, Ports},
    paths::{Name, Paths},
    programs::Programs,
    progress::Progress,
    provision::{
        order_clients::{self, OrderClients},
        tools::{self, Tool},
    },
    run,
    status::{Phase, Status},
    supervisor::{
        control_client::{self, Action, Request},
        failure::failure,
        lifecycle,
    },
};

/// How long all components together may take.
const UP_TIMEOUT: Duration = Duration::from_mins(3);
/// How long one request about a component may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);

/// A sandbox that is up.
#[derive(Debug, Clone)]
pub struct Sandbox {
    machine: Machine,
    ports: Ports,
}

impl Sandbox {
    /// Brings a sandbox up: provisions the machine, starts what does not run, repairs what is
    /// broken, and returns when every component answers. Harmless if it is up already.
    pub fn up(name: &Name, progress: Progress) -> Result<Self> {
        let mut machine = Machine::read(name)?;
        check_privileges(&machine)?;
        machine.provision(progress)?;
        let paths = &machine.paths;
        let _one_at_a_time = lock(paths)?;
        if let Some(external) = &machine.external_cluster {
            external.write_kubeconfig(paths, &machine.programs)?;
        }
        let child = if lifecycle::is_up(paths)? {
            wake(paths)?;
            None
        } else {
            // Clean up after a crash first.
            lifecycle::end(paths)?;
            Some(lifecycle::start(paths)?)
        };
        wait_until_ready(paths, child, progress)?;
        let sandbox = Self::of(machine)?;
        let Machine {
            paths,
            programs,
            external_cluster,
        } = &sandbox.machine;
        if let Some(external) = external_cluster {
            external.apply(paths, programs, &sandbox.ports)?;
        }
        Ok(sandbox)
    }

    /// Makes the sandbox of this name use an existing cluster instead of its own.
    pub fn use_external_cluster(name: &Name, external: &ExternalCluster) -> Result<()> {
        if external.host_address.is_loopback() || external.host_address.is_unspecified() {
            return Err(Error::Usage(format!(
                "no pod reaches this machine at {}; set --host-address to this machine's address \
                 in the network that it shares with the cluster's nodes (`ip address` lists its \
                 addresses)",
                external.host_address
            )));
        }
        let Machine {
            paths,
            external_cluster,
            ..
        } = Machine::read(name)?;
        let _one_at_a_time = lock(&paths)?;
        if external_cluster.as_ref() == Some(external) {
            return Ok(());
        }
        if paths.state.join("etcd").exists() || lifecycle::is_up(&paths)? {
            return Err(Error::Usage(format!(
                "the sandbox {name:?} already uses another cluster; choose another --name, or \
                 remove that sandbox with `cargo sandbox --name {name} clean`",
                name = name.as_str()
            )));
        }
        files::write_json(&paths.external_cluster_file(), external)
    }

    /// Chooses the version of Kubernetes for the sandbox of this name. It keeps it until `clean`.
    pub fn use_kubernetes(name: &Name, version: KubernetesVersion) -> Result<()> {
        let Machine {
            paths,
            external_cluster,
            ..
        } = Machine::read(name)?;
        let _one_at_a_time = lock(&paths)?;
        if let Some(external) = external_cluster {
            return Err(Error::Usage(format!(
                "the sandbox {:?} uses the cluster of the context {:?}, whose Kubernetes is not \
                 its own; omit --kubernetes, or choose another --name",
                name.as_str(),
                external.context
            )));
        }
        let has_cluster = paths.state.join("etcd").exists() || lifecycle::is_up(&paths)?;
        KubernetesVersion::read(&paths)?.check_change(name, version, has_cluster)?;
        version.write(&paths)
    }

    /// Installs and builds what is missing on the machine, and starts nothing.
    pub fn provision(name: &Name, progress: Progress) -> Result<Programs> {
        let mut machine = Machine::read(name)?;
        check_privileges(&machine)?;
        machine.provision(progress)?;
        Ok(machine.programs)
    }

    /// Builds what is missing of the order system's clients that the tests run. Needs what
    /// [`Self::provision`] installs.
    pub fn provision_clients(name: &Name, progress: Progress) -> Result<OrderClients> {
        order_clients::provision(&Paths::of(name)?, progress)
    }

    /// A program that only the tests run; builds it if it is missing. Needs what
    /// [`Self::provision`] installs.
    pub fn provision_tool(name: &Name, tool: Tool, progress: Progress) -> Result<PathBuf> {
        tools::provision(&Paths::of(name)?, tool, progress)
    }

    /// Finds a sandbox that is up.
    pub fn open(name: &Name) -> Result<Self> {
        Self::of(Machine::read(name)?)
    }

    fn of(machine: Machine) -> Result<Self> {
        let not_up = || Error::NotUp(machine.paths.name.to_string());
        if !lifecycle::is_up(&machine.paths)? {
            return Err(not_up());
        }
        let ports = files::read_json(&machine.paths.ports_file())?.ok_or_else(not_up)?;
        Ok(Self { machine, ports })
    }

    /// Ends a sandbox. Its state stays. Harmless if it is not up.
    pub fn down(name: &Name) -> Result<()> {
        end(&Machine::read(name)?)
    }

    /// Ends a sandbox and removes its state; with `cache`, also everything that was built for all
    /// sandboxes.
    pub fn clean(name: &Name, cache: bool) -> Result<()> {
        let machine = Machine::read(name)?;
        let paths = &machine.paths;
        if cache {
            no_other_is_up(paths)?;
        }
        // An external cluster that does not answer is no reason to keep the state.
        let down = end(&machine);
        if !lifecycle::is_up(paths)? {
            files::remove_folder(&paths.state)?;
        }
        down?;
        if cache {
            for made in ["bin", "release", "temporal.tmp", "lock"] {
                remove(&paths.cache.join(made))?;
            }
            // A build that was killed leaves its folder.
            for storage in buildah::unfinished(&paths.cache) {
                remove(&storage)?;
            }
        }
        Ok(())
    }

    /// Its folders and files.
    pub fn paths(&self) -> &Paths {
        &self.machine.paths
    }

    /// The programs: kubectl, helm, temporal, promtool, kubeconform and the rest.
    pub fn programs(&self) -> &Programs {
        &self.machine.programs
    }

    /// The cluster that it uses instead of one of its own, if any.
    pub fn external_cluster(&self) -> Option<&ExternalCluster> {
        self.machine.external_cluster.as_ref()
    }

    /// The name under which its cluster knows an image.
    pub fn image_reference(&self, image: Image) -> String {
        self.external_cluster()
            .map_or_else(|| image.reference(), |external| external.reference(image))
    }

    /// The kubeconfig of an administrator, for use on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.paths().kubeconfig()
    }

    /// The status of its components.
    pub fn status(&self) -> Result<Status> {
        Status::read(&self.paths().status_file())?
            .ok_or_else(|| Error::NotUp(self.paths().name.to_string()))
    }

    /// `127.0.0.1:PORT` of a port that is reachable from this machine: `api`, `temporal`,
    /// `temporal-ui`, `prometheus`, `gateway`, `postgres` or `smtp`.
    pub fn address(&self, name: &str) -> Result<String> {
        self.ports
            .get(name)
            .map(|port| format!("127.0.0.1:{port}"))
            .ok_or_else(|| {
                let known: Vec<&str> = self.ports.keys().map(String::as_str).collect();
                Error::Usage(format!(
                    "no port {name:?} is forwarded; the forwarded ports are {}",
                    known.join(", ")
                ))
            })
    }

    /// A listener of the calling process that pods reach: at its own address, on a free port.
    pub fn listener_for_pods(&self) -> Result<TcpListener> {
        match self.external_cluster() {
            Some(external) => TcpListener::bind((external.host_address, 0))
                .attempt(|| format!("listening on {}", external.host_address)),
            None => forward::listen_inside(&lifecycle::network(self.paths())?, NODE),
        }
    }

    /// Temporal's frontend, `127.0.0.1:PORT`.
    pub fn temporal(&self) -> Result<String> {
        self.address("temporal")
    }

    /// The payment gateway, `http://127.0.0.1:PORT`.
    pub fn gateway(&self) -> Result<String> {
        Ok(format!("http://{}", self.address("gateway")?))
    }

    /// Prometheus, `http://127.0.0.1:PORT`.
    pub fn prometheus(&self) -> Result<String> {
        Ok(format!("http://{}", self.address("prometheus")?))
    }

    /// The database `orders` as its owner.
    pub fn postgres(&self) -> Result<String> {
        Ok(format!(
            "postgres://orders@{}/orders",
            self.address("postgres")?
        ))
    }

    /// Stops, starts, restarts, kills, pauses or resumes one component; returns when that has
    /// happened.
    pub fn component(&self, name: &str, action: Action) -> Result<()> {
        self.component_with(name, action, &[])
    }

    /// The same; a component that this starts gets these arguments after its own, until it is
    /// started by another call. For example `--dynamic-config-value` for `temporal`.
    pub fn component_with(&self, name: &str, action: Action, arguments: &[&str]) -> Result<()> {
        let request = Request::Component {
            name: name.into(),
            action,
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
        };
        control_client::send(&self.paths().control_socket(), &request, REQUEST_TIMEOUT)
    }

    /// `kubectl` with the sandbox's kubeconfig.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.programs().kubectl);
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// `helm` with the sandbox's kubeconfig, and with folders of its own: no repository or plugin
    /// of the person's is used.
    pub fn helm(&self) -> Command {
        self.helm_of(&self.programs().helm)
    }

    /// The same with Helm 3, which is built if it is missing.
    pub fn helm3(&self, progress: Progress) -> Result<Command> {
        let program = tools::provision(self.paths(), Tool::Helm3, progress)?;
        Ok(self.helm_of(&program))
    }

    fn helm_of(&self, program: &Path) -> Command {
        let folder = self.paths().state.join("helm");
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HELM_CACHE_HOME", folder.join("cache"))
            .env("HELM_CONFIG_HOME", folder.join("config"))
            .env("HELM_DATA_HOME", folder.join("data"));
        command
    }

    /// Runs `kubectl` and returns what it printed.
    pub fn kubectl_output(&self, args: &[&str]) -> Result<String> {
        run::output(self.kubectl().args(args))
    }
}

#[cfg(not(target_os = "linux"))]
compile_error!(
    "the sandbox needs Linux; on another system run it in a Linux virtual machine, and use an \
     existing cluster with `cargo sandbox --context NAME up`"
);

/// Returns an error that names the remedy if the sandbox needs root to build its own cluster.
fn check_privileges(machine: &Machine) -> Result<()> {
    if machine.external_cluster.is_some() || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::Machine(
        "the sandbox needs root to build a cluster (bridges, cgroups, containers): run this as \
         root, or use an existing Kubernetes cluster with `cargo sandbox --context NAME \
         --host-address ADDRESS up`, which needs no root"
            .into(),
    ))
}

/// Starts components that were stopped, and resumes those that were paused.
fn wake(paths: &Paths) -> Result<()> {
    let status = Status::read(&paths.status_file())?;
    for (name, component) in status.into_iter().flat_map(|status| status.components) {
        let action = match component.phase {
            Phase::Stopped => Action::Start,
            Phase::Paused => Action::Resume,
            _ => continue,
        };
        let request = Request::Component {
            name,
            action,
            arguments: Vec::new(),
        };
        control_client::send(&paths.control_socket(), &request, REQUEST_TIMEOUT)?;
    }
    Ok(())
}

fn end(machine: &Machine) -> Result<()> {
    let paths = &machine.paths;
    let _one_at_a_time = lock(paths)?;
    lifecycle::end(paths)?;
    if machine.external_cluster.is_some() && paths.kubeconfig().exists() {
        ExternalCluster::remove(paths, &machine.programs)?;
    }
    Ok(())
}

/// Other sandboxes run from the same cache.
fn no_other_is_up(paths: &Paths) -> Result<()> {
    let folder = paths.state.parent().unwrap_or(&paths.state);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().to_string_lossy().parse::<Name>() else {
            continue;
        };
        let other = Paths {
            name,
            state: entry.path(),
            ..paths.clone()
        };
        if other.name != paths.name && lifecycle::is_up(&other)? {
            return Err(Error::Usage(format!(
                "the sandbox {:?} is up and runs from the cache; stop it first: `cargo sandbox \
                 --name {} down`",
                other.name.as_str(),
                other.name
            )));
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        return files::remove_folder(path);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.attempt(|| format!("removing {}", path.display())),
    }
}

/// Two commands that start or end the same sandbox wait for each other.
fn lock(paths: &Paths) -> Result<std::fs::File> {
    files::make_folder(&paths.state)?;
    let file = paths.state.join("lock");
    let lock = std::fs::File::create(&file).attempt(|| format!("creating {}", file.display()))?;
    lock.lock()
        .attempt(|| format!("locking {}", file.display()))?;
    Ok(lock)
}

fn wait_until_ready(paths: &Paths, mut child: Option<Child>, progress: Progress) -> Result<()> {
    let deadline = Instant::now() + UP_TIMEOUT;
    let starts = child.is_some();
    let mut reported = Vec::new();
    loop {
        if let Some(Ok(Some(ended))) = child.as_mut().map(Child::try_wait) {
            return Err(failure(
                paths,
                "supervisor",
                &format!("it ended with {ended}"),
            ));
        }
        let status = Status::read(&paths.status_file())?;
        if let Some(status) = &status {
            for (name, component) in &status.components {
                if starts && component.phase == Phase::Ready && !reported.contains(name) {
                    reported.push(name.clone());
                    let seconds = Duration::from_millis(component.ready_after_ms.unwrap_or(0));
                    progress.say(&format!("{name} ready ({:.1} s)", seconds.as_secs_f64()));
                }
                if component.phase == Phase::Failed {
                    return Err(failure(paths, name, &component.message));
                }
            }
            if status
                .components
                .values()
                .all(|component| component.phase.is_settled())
            {
                return Ok(());
            }
        }
        if Instant::now() > deadline {
            return Err(too_late(paths, status.as_ref()));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn too_late(paths: &Paths, status: Option<&Status>) -> Error {
    let late = status.and_then(|status| {
        status.components.iter().find(|(_, component)| {
            !component.phase.is_settled() && component.phase != Phase::Waiting
        })
    });
    let timeout = UP_TIMEOUT.as_secs();
    match late {
        Some((name, component)) => {
            let why = format!("it is not ready after {timeout} s: {}", component.message);
            failure(paths, name, &why)
        }
        None => failure(
            paths,
            "supervisor",
            &format!("nothing started within {timeout} s"),
        ),
    }
}
