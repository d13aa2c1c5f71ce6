//! The PostgreSQL server of a test run, started on first use. It ends with the test process,
//! however it ends.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use taskqueue_worker::testing::{Server, eventually, folder, free_port};

/// Finds a program of PostgreSQL: the one that Debian has installed, or the one in the `PATH`.
///
/// # Errors
/// A sentence that says how to get it.
pub fn postgres_program(name: &str) -> anyhow::Result<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    dirs.sort();
    dirs.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    dirs.into_iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "PostgreSQL's `{name}` is missing: `apt-get install postgresql`, or put it on the \
                 PATH"
            )
        })
}

/// Returns the URL of a new, empty PostgreSQL database.
pub async fn postgres_database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let port = tokio::task::spawn_blocking(|| SERVER.get_or_init(start_postgres).port)
        .await
        .unwrap();
    let name = format!("t{}", uuid::Uuid::new_v4().simple());
    let url = |database: &str| format!("postgres://orders@127.0.0.1:{port}/{database}");
    let create = format!("CREATE DATABASE {name}");
    eventually("PostgreSQL makes a database", async || {
        let mut admin = PgConnection::connect(&url("postgres")).await.ok()?;
        let created = sqlx::query(AssertSqlSafe(create.as_str()))
            .execute(&mut admin)
            .await;
        created.ok()
    })
    .await;
    url(&name)
}

fn start_postgres() -> Server {
    let port = free_port();
    let dir = folder("order-worker-postgres-");
    // PostgreSQL refuses to run as root.
    let id = |args: &[&str]| -> Option<u32> {
        let out = Command::new("id").args(args).output().ok()?;
        String::from_utf8(out.stdout).ok()?.trim().parse().ok()
    };
    let user = (id(&["-u"]) == Some(0)).then(|| {
        id(&["-u", "postgres"]).expect("there is no user postgres: `apt-get install postgresql`")
    });
    if let Some(user) = user {
        std::os::unix::fs::chown(&dir, Some(user), None).unwrap();
    }
    let data = dir.join("data");
    let mut initdb = Command::new(postgres_program("initdb").unwrap());
    initdb.args([
        "--auth=trust",
        "--username=orders",
        "--no-sync",
        "--encoding=UTF8",
        "-D",
    ]);
    initdb.arg(&data).current_dir(&dir);
    if let Some(user) = user {
        initdb.uid(user);
    }
    let made = initdb.output().unwrap();
    assert!(
        made.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let command: Vec<OsString> = vec![
        postgres_program("postgres").unwrap().into(),
        "-D".into(),
        data.into(),
        "-p".into(),
        port.to_string().into(),
        "-k".into(),
        dir.clone().into(),
        "-c".into(),
        "listen_addresses=127.0.0.1".into(),
        "-c".into(),
        "fsync=off".into(),
        "-c".into(),
        "max_connections=200".into(),
    ];
    Server::start(command, port, user, &dir)
}
