//! The command line of `sandbox` and what each subcommand prints. Prints to standard output.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write as _},
    net::IpAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use crate::{
    demo::Demo,
    release::{Binaries, Release},
    stdout::print,
};
use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use sandbox_bench::{footprint, latency, soak};
use sandbox_machine::{
    Action, Column, ExternalCluster, Image, ImageBinaries, KubernetesVersion, Machine, Name, Paths,
    Phase, Progress, Sandbox, Status, own_processes,
};

/// A complete real system on this machine: Kubernetes, Temporal, PostgreSQL, SMTP, Prometheus.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    /// The name of the sandbox: 1 to 20 of a-z, 0-9 and -, starting with a letter. Several
    /// sandboxes can be up at once.
    #[arg(long, global = true, default_value = "default")]
    name: Name,
    /// Use the cluster of this kubeconfig context instead of building one, and start only what it
    /// lacks. With `up` or `demo`.
    #[arg(long, global = true, value_name = "CONTEXT", requires = "host_address")]
    context: Option<String>,
    /// The address at which that cluster's pods reach this machine. Temporal, PostgreSQL, SMTP and
    /// the gateway listen there without passwords: use a network that you trust.
    #[arg(long, global = true, value_name = "ADDRESS", requires = "context")]
    host_address: Option<IpAddr>,
    /// The registry from which that cluster pulls images, for example registry.example.com/team:
    /// `images` pushes there. Without it, `images` writes archives for you to load.
    #[arg(long, global = true, value_name = "HOST/PATH", requires = "context")]
    registry: Option<String>,
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Install and build what is missing, start what does not run, and wait until everything is
    /// ready.
    Up {
        /// The version of Kubernetes, when the sandbox has no cluster yet. Default: 1.36.
        #[arg(long, value_name = "VERSION")]
        kubernetes: Option<KubernetesVersion>,
    },
    /// Print the state and the address of each component.
    Status,
    /// Print the log of a component.
    Logs {
        /// The component, as `status` names it, or `supervisor`.
        component: String,
        /// Keep printing new lines.
        #[arg(short, long)]
        follow: bool,
    },
    /// Run kubectl against the sandbox's cluster.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// The arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run helm against the sandbox's cluster.
    #[command(disable_help_flag = true)]
    Helm {
        /// The arguments of helm.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build the project's images and load those that changed.
    Images {
        /// Only this image; may be repeated.
        #[arg(long, value_name = "IMAGE")]
        only: Vec<Image>,
        /// A folder with static binaries, instead of building them with cargo.
        #[arg(long, value_name = "FOLDER")]
        binaries: Option<PathBuf>,
    },
    /// Install or upgrade the operator with its Helm chart, and wait until it is available.
    Operator {
        /// A chart value, as for `helm --set`; may be repeated.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
    /// Start everything, place orders, watch the fleet scale, and verify the outcome of each order.
    Demo(Demo),
    /// Draw the chart's Grafana dashboard as an SVG file, from the data in Prometheus.
    Picture {
        /// The file to write.
        #[arg(value_name = "FILE.svg")]
        file: PathBuf,
        /// How many minutes back.
        #[arg(
            long,
            value_name = "N",
            default_value_t = 10,
            value_parser = clap::value_parser!(u32).range(1..=2880)
        )]
        minutes: u32,
        /// The namespaces of the fleets, as a regular expression.
        #[arg(long, value_name = "REGEX", default_value = ".*")]
        namespace: String,
        /// The fleets, as a regular expression.
        #[arg(long, value_name = "REGEX", default_value = ".*")]
        fleet: String,
    },
    /// Start everything, scale fleets up and down under activities of up to 120 s, and verify from
    /// Temporal's histories that no activity was interrupted needlessly.
    Soak {
        /// For how many minutes to place waves of orders. The run then waits until all have ended.
        #[arg(
            long,
            value_name = "N",
            default_value_t = 15,
            value_parser = clap::value_parser!(u64).range(1..=1440)
        )]
        minutes: u64,
        /// The longest activity, in seconds.
        #[arg(
            long,
            value_name = "SECONDS",
            default_value_t = 120,
            value_parser = clap::value_parser!(u64).range(1..=120)
        )]
        longest: u64,
    },
    /// Start everything and measure the time from the first task on an idle queue at zero to the
    /// right replicas, the first poll and the first completed activity. Restarts Temporal for the
    /// short cache, and reinstalls the operator.
    Latency {
        /// Number of trials under each setting.
        #[arg(
            long,
            value_name = "N",
            default_value_t = 30,
            value_parser = clap::value_parser!(u16).range(1..=1000)
        )]
        trials: u16,
        /// Only this setting; may be repeated.
        #[arg(long, value_name = "SETTING")]
        only: Vec<latency::Setting>,
    },
    /// Stop, start, restart, kill, pause or resume one component.
    Component {
        /// What to do.
        action: Action,
        /// The component, as `status` names it.
        component: String,
        /// With start and restart: additional arguments for the component, valid until this command
        /// starts it again.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Print the kubeconfig and the addresses as shell exports: `eval "$(cargo sandbox env)"`.
    Env,
    /// Run every check that a change must pass, in stages, on a separate sandbox.
    Test {
        /// Only this stage; may be repeated.
        #[arg(long, value_name = "STAGE")]
        only: Vec<String>,
        /// List the stages without running them.
        #[arg(long)]
        list: bool,
        /// Keep the sandbox of the cluster stage up for inspection.
        #[arg(long)]
        keep: bool,
    },
    /// Make the folder of a release, and check it: images, chart, plain YAML, kubectl plugin, bills
    /// of materials, checksums and notes. Publishes nothing.
    Release(Release),
    /// Compile the binaries of a release with their licences and bills of materials. The Dockerfile
    /// does this.
    Binaries(Binaries),
    /// Measure the resources that the installed operator uses for idle fleets.
    Footprint {
        /// Number of fleets, with one queue each.
        #[arg(
            long,
            value_name = "N",
            default_value_t = 300,
            value_parser = clap::value_parser!(u32).range(1..=10_000)
        )]
        fleets: u32,
        /// How many seconds to measure the operator, before and with the fleets.
        #[arg(
            long,
            value_name = "SECONDS",
            default_value_t = 60,
            value_parser = clap::value_parser!(u64).range(1..=86_400)
        )]
        seconds: u64,
    },
    /// Stop everything. The state (etcd, PostgreSQL, mail, images) stays.
    Down,
    /// Stop everything and remove the state.
    Clean {
        /// Also remove what was built and downloaded for all sandboxes.
        #[arg(long)]
        all: bool,
    },
    #[command(hide = true)]
    Supervise,
    #[command(hide = true)]
    Enter,
    #[command(hide = true)]
    Init,
    #[command(hide = true)]
    Discover,
    #[command(hide = true)]
    ApiProxy,
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let name = &self.name;
        if let (Some(context), Some(host_address)) = (self.context, self.host_address) {
            if !matches!(self.command, Subcommands::Up { .. } | Subcommands::Demo(_)) {
                bail!(
                    "use --context only with `up` and `demo`; the sandbox remembers the context \
                     afterwards"
                );
            }
            let registry = self.registry;
            Sandbox::use_external_cluster(
                name,
                &ExternalCluster {
                    context,
                    host_address,
                    registry,
                },
            )?;
        }
        match self.command {
            Subcommands::Up { kubernetes } => up(name, kubernetes)?,
            Subcommands::Status => return status(name),
            Subcommands::Logs { component, follow } => logs(name, &component, follow)?,
            Subcommands::Kubectl { args } => replace(Sandbox::open(name)?.kubectl().args(args))?,
            Subcommands::Helm { args } => replace(Sandbox::open(name)?.helm().args(args))?,
            Subcommands::Images { only, binaries } => images(name, &only, binaries.as_deref())?,
            Subcommands::Operator { set } => {
                let settings: Vec<&str> = set.iter().map(String::as_str).collect();
                Sandbox::open(name)?.install_operator(&settings)?;
            }
            Subcommands::Demo(demo) => demo.run(name)?,
            Subcommands::Picture {
                file,
                minutes,
                namespace,
                fleet,
            } => sandbox_demo::dashboard::draw_last(
                &Sandbox::open(name)?,
                &namespace,
                &fleet,
                minutes,
                &file,
            )?,
            Subcommands::Soak { minutes, longest } => soaked(name, minutes, longest)?,
            Subcommands::Latency { trials, only } => measured(name, trials, only)?,
            Subcommands::Component {
                action,
                component,
                arguments,
            } => {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                Sandbox::open(name)?.component_with(&component, action, &arguments)?;
            }
            Subcommands::Env => print(&environment(&Sandbox::open(name)?)?)?,
            Subcommands::Test { only, list, keep } => crate::ci::run(&only, list, keep)?,
            Subcommands::Release(release) => release.run(&Paths::of(name)?)?,
            Subcommands::Binaries(binaries) => binaries.run(&Paths::of(name)?)?,
            Subcommands::Footprint { fleets, seconds } => {
                let options = footprint::Options {
                    fleets,
                    window: Duration::from_secs(seconds),
                };
                let sandbox = Sandbox::open(name)?;
                let progress = Progress::default();
                print(&footprint::run(&sandbox, options, progress)?)?;
            }
            Subcommands::Down => Sandbox::down(name)?,
            Subcommands::Clean { all } => Sandbox::clean(name, all)?,
            Subcommands::Supervise => own_processes::supervise(&Machine::read(name)?)?,
            Subcommands::Enter => own_processes::enter(&Machine::read(name)?)?,
            Subcommands::ApiProxy => own_processes::api_proxy(&Machine::read(name)?)?,
            Subcommands::Discover => own_processes::discover(&Machine::read(name)?)?,
            Subcommands::Init => own_processes::init(&Machine::read(name)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn up(name: &Name, kubernetes: Option<KubernetesVersion>) -> anyhow::Result<()> {
    if let Some(version) = kubernetes {
        Sandbox::use_kubernetes(name, version)?;
    }
    let sandbox = Sandbox::up(name, Progress::default())?;
    print(&table(&sandbox.status()?))?;
    print(&addresses(&sandbox)?)
}

fn soaked(name: &Name, minutes: u64, longest: u64) -> anyhow::Result<()> {
    let options = soak::Options {
        length: Duration::from_mins(minutes),
        longest: Duration::from_secs(longest),
        kill_the_leader: true,
    };
    let report = soak::run(name, options, Progress::default())?;
    print(&report.to_string())?;
    report.verdict()?;
    print(
        "NO AVOIDABLE INTERRUPTION: every activity completed at its first attempt, except those \
         above.\n",
    )
}

fn measured(name: &Name, trials: u16, only: Vec<latency::Setting>) -> anyhow::Result<()> {
    let options = latency::Options {
        trials: trials.into(),
        settings: if only.is_empty() {
            latency::Setting::ALL.to_vec()
        } else {
            only
        },
    };
    for measured in latency::run(name, &options, Progress::default())? {
        print(&format!("\n{measured}"))?;
    }
    Ok(())
}

fn images(name: &Name, only: &[Image], binaries: Option<&Path>) -> anyhow::Result<()> {
    let images = if only.is_empty() { &Image::ALL } else { only };
    let sandbox = Sandbox::open(name)?;
    let binaries = ImageBinaries::of(images, binaries, Progress::default())?;
    let loaded = sandbox.images(binaries, Progress::default())?;
    for image in loaded {
        if let Some(archive) = image.archive {
            print(&format!(
                "{reference} is in {archive}: load it into every node of the cluster, for example \
                 with `kind load image-archive {archive}`, `minikube image load {archive}`, or on \
                 the node `ctr --namespace k8s.io images import {archive}`\n",
                reference = image.reference,
                archive = archive.display(),
            ))?;
        }
    }
    Ok(())
}

fn status(name: &Name) -> anyhow::Result<ExitCode> {
    let sandbox = Sandbox::open(name)?;
    let status = sandbox.status()?;
    print(&table(&status))?;
    print(&addresses(&sandbox)?)?;
    let well = status
        .components
        .values()
        .all(|component| matches!(component.phase, Phase::Ready | Phase::Absent));
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn table(status: &Status) -> String {
    let columns = [
        Column::Words("COMPONENT"),
        Column::Words("STATE"),
        Column::Numbers("READY IN"),
        Column::Numbers("RESTARTS"),
        Column::Words("ADDRESS (inside)"),
        Column::Words("NOTE"),
    ];
    let rows = status.components.iter().map(|(name, component)| {
        let ready = component
            .ready_after_ms
            .map(|ms| format!("{:.1} s", Duration::from_millis(ms).as_secs_f64()))
            .unwrap_or_default();
        [
            name.clone(),
            format!("{:?}", component.phase).to_lowercase(),
            ready,
            component.restarts.to_string(),
            component.address.clone(),
            component.message.clone(),
        ]
    });
    sandbox_machine::table(columns, rows)
}

fn addresses(sandbox: &Sandbox) -> anyhow::Result<String> {
    let mut text = String::new();
    let lines = [
        ("kubeconfig", sandbox.kubeconfig().display().to_string()),
        ("Temporal", sandbox.temporal()?),
        (
            "Temporal UI",
            format!("http://{}", sandbox.address("temporal-ui")?),
        ),
        ("Prometheus", sandbox.prometheus()?),
        ("gateway", sandbox.gateway()?),
        ("PostgreSQL", sandbox.postgres()?),
        ("mail", sandbox.paths().maildir().display().to_string()),
    ];
    writeln!(text)?;
    for (what, place) in lines {
        writeln!(text, "{what:<12} {place}")?;
    }
    Ok(text)
}

fn environment(sandbox: &Sandbox) -> anyhow::Result<String> {
    let lines = [
        ("KUBECONFIG", sandbox.kubeconfig().display().to_string()),
        ("TEMPORAL_ADDRESS", sandbox.temporal()?),
        ("PROMETHEUS_URL", sandbox.prometheus()?),
        ("PAYMENT_GATEWAY_URL", sandbox.gateway()?),
        ("DATABASE_URL", sandbox.postgres()?),
        ("SMTP_URL", format!("smtp://{}", sandbox.address("smtp")?)),
        (
            "SANDBOX_MAILDIR",
            sandbox.paths().maildir().display().to_string(),
        ),
    ];
    let mut text = String::new();
    for (variable, value) in lines {
        writeln!(text, "export {variable}='{}'", value.replace('\'', r"'\''"))?;
    }
    Ok(text)
}

fn logs(name: &Name, component: &str, follow: bool) -> anyhow::Result<()> {
    let paths = Paths::of(name)?;
    let file = paths.log(component);
    let mut log = File::open(&file).with_context(|| {
        let known: Vec<String> = std::fs::read_dir(paths.logs())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned()))
            .collect();
        format!(
            "there is no log of {component:?}; the logs are {}",
            known.join(", ")
        )
    })?;
    let mut out = io::stdout().lock();
    loop {
        io::copy(&mut Read::by_ref(&mut log), &mut out)?;
        out.flush()?;
        if !follow {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
        // After `up` the log is a new file.
        if std::fs::metadata(&file).is_ok_and(|now| now.len() < log.stream_position().unwrap_or(0))
        {
            log = File::open(&file)?;
            log.seek(SeekFrom::Start(0))?;
        }
    }
}

fn replace(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    bail!("cannot start {}: {}", program.display(), command.exec())
}
