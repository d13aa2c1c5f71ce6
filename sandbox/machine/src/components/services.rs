//! The components beside Kubernetes: the services that the order fleet needs, and Prometheus. Pure.

use std::path::Path;

use crate::{
    components::{
        Build, Component, MOUNTED, Owner, Step, Stop, TEMPORAL, readiness::Probe, step, text,
    },
    net::NODE_ADDRESS,
};

/// The mail server's program. Its user may not enter the folders where a file of it could lie.
const MAIL_SERVER: &str = include_str!("mail_server.py");

impl Build<'_> {
    /// The development server. The program comes from PyPI and not from its authors, so it does not
    /// run as root.
    pub(super) fn temporal(owner: Owner) -> Component {
        let program = Path::new(MOUNTED).join(TEMPORAL).join("temporal");
        let namespace = [
            text(&program),
            "operator".into(),
            "namespace".into(),
            "describe".into(),
            "--address=127.0.0.1:7233".into(),
            "--namespace=default".into(),
            "--command-timeout=3s".into(),
        ];
        Component {
            ready: Probe::Command(namespace.to_vec(), None),
            owner: Some(owner),
            address: format!("{NODE_ADDRESS}:7233"),
            ..Self::component(
                "temporal",
                &program,
                &[
                    "server",
                    "start-dev",
                    "--ip=0.0.0.0",
                    "--port=7233",
                    "--ui-port=8233",
                    "--metrics-port=7243",
                    // Otherwise each task queue has some 17 series per partition and task type for
                    // as long as the server runs: after 1,000 queues a scrape has 60 MB and takes 4
                    // s.
                    "--dynamic-config-value=metrics.breakdownByTaskQueue=false",
                    "--ui-disable-news-fetch",
                    "--log-format=json",
                    "--log-level=warn",
                ],
            )
        }
    }

    pub(super) fn postgres(&self, owner: Owner) -> Component {
        let folder = &self.programs.postgres_folder;
        let data = format!("{MOUNTED}/postgres/data");
        let program = |name: &str| text(&folder.join(name));
        let initdb = Step {
            command: [
                &program("initdb"),
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--pgdata",
                &data,
            ]
            .map(str::to_owned)
            .to_vec(),
            owner: Some(owner),
            unless: Some(Path::new(&data).join("PG_VERSION")),
        };
        let sql = |statement: &str| {
            format!(
                "{} -h 127.0.0.1 -U postgres -d postgres -tA -c \"{statement}\"",
                program("psql")
            )
        };
        // CREATE DATABASE has no IF NOT EXISTS.
        let script = format!(
            "set -e\n{} | grep -q 1 || {}\n{} | grep -q 1 || {}\n",
            sql("SELECT 1 FROM pg_roles WHERE rolname = 'orders'"),
            sql("CREATE ROLE orders LOGIN"),
            sql("SELECT 1 FROM pg_database WHERE datname = 'orders'"),
            sql("CREATE DATABASE orders OWNER orders"),
        );
        let hba = format!("hba_file={MOUNTED}/postgres/pg_hba.conf");
        let ready = [
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-c",
            "SELECT 1",
        ];
        Component {
            prepare: vec![initdb],
            ready: Probe::Command(
                [program("psql")]
                    .into_iter()
                    .chain(ready.map(str::to_owned))
                    .collect(),
                None,
            ),
            then: vec![step(&["/bin/sh".into(), "-c".into(), script])],
            owner: Some(owner),
            stop: Stop::Interrupt,
            keeps_data: true,
            address: format!("{NODE_ADDRESS}:5432"),
            ..Self::component(
                "postgres",
                &folder.join("postgres"),
                &[
                    "-D",
                    &data,
                    "-c",
                    &hba,
                    "-c",
                    "listen_addresses=*",
                    "-c",
                    "unix_socket_directories=",
                    "-c",
                    "max_connections=500",
                    // The data need not survive the machine; the sandbox must be quick.
                    "-c",
                    "fsync=off",
                    "-c",
                    "synchronous_commit=off",
                    "-c",
                    "full_page_writes=off",
                ],
            )
        }
    }

    pub(super) fn smtp(&self, owner: Owner) -> Component {
        let maildir = format!("{MOUNTED}/mail/Maildir");
        Component {
            ready: Probe::Greeting(2525, "220 "),
            owner: Some(owner),
            address: format!("{NODE_ADDRESS}:2525"),
            ..Self::component(
                "smtp",
                &self.programs.python,
                &[
                    "-c",
                    MAIL_SERVER,
                    "--nosetuid",
                    "--smtputf8",
                    "--listen",
                    "0.0.0.0:2525",
                    "--class",
                    "__main__.PatientMailbox",
                    &maildir,
                ],
            )
        }
    }

    pub(super) fn gateway(&self) -> Component {
        let program = self.paths.gateway_program();
        let ledger = format!(
            "--ledger={}",
            program.with_file_name("ledger.jsonl").display()
        );
        Component {
            ready: Probe::Http(8090, "/livez"),
            keeps_data: true,
            address: format!("{NODE_ADDRESS}:8090"),
            ..Self::component(
                "gateway",
                &program,
                // A payment provider keeps its charges over a restart.
                &["gateway", "--listen=0.0.0.0:8090", &ledger],
            )
        }
    }

    pub(super) fn discovery(&self) -> Component {
        Component {
            ready: Probe::File(self.paths.targets_file()),
            ..Self::component(
                "discovery",
                &self.programs.own,
                &["--name", self.paths.name.as_str(), "discover"],
            )
        }
    }

    pub(super) fn prometheus(&self) -> Component {
        let config = format!("--config.file={}", self.config("prometheus.json"));
        let data = format!(
            "--storage.tsdb.path={}",
            self.paths.state.join("prometheus").display()
        );
        Component {
            ready: Probe::Http(9090, "/-/ready"),
            keeps_data: true,
            address: format!("{NODE_ADDRESS}:9090"),
            ..Self::component(
                "prometheus",
                &self.programs.prometheus,
                &[
                    &config,
                    &data,
                    "--web.listen-address=0.0.0.0:9090",
                    "--storage.tsdb.retention.time=2d",
                    "--log.level=warn",
                ],
            )
        }
    }
}
