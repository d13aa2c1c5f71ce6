//! `version`: the version of this program, and that of the operator in the cluster. Reads the
//! operator's metrics with the user's own permissions and prints; writes nothing to any cluster.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterArgs};
use crate::figures::Scrape;
use crate::output::{Output, print};

/// The text below the flags in `--help`.
pub const HELP: &str = "\
The version of the operator is in its metrics.

The metrics need permission, in the operator's namespace, to get services/proxy. Without it they are
read by a port-forward to the pod that leads, which needs permission to get leases, to get and
create pods/portforward, and, if the port is not 8080, to get pods. --metrics needs none of these.";

/// The version of this program.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// The arguments of `version`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Arguments {
    /// Where to read.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Only the version of this program; asks no cluster.
    #[arg(long)]
    pub client: bool,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// The two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Versions {
    /// Of this program.
    program: &'static str,
    /// Of the operator that reconciles, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    /// That the versions differ, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    /// Why a version is missing, and the remedy.
    notes: Vec<String>,
}

impl Versions {
    /// Of this program alone.
    fn own() -> Self {
        Self {
            program: OWN,
            operator: None,
            warning: None,
            notes: Vec::new(),
        }
    }

    /// With that of the operator, or why its metrics cannot be read.
    fn with(scrape: Result<Scrape, String>) -> Self {
        let operator = scrape.and_then(|scrape| {
            let unnamed = || "its metrics do not name it".to_owned();
            scrape.version.ok_or_else(unnamed)
        });
        match operator {
            Ok(operator) => {
                let warning = (operator != OWN).then(|| {
                    format!(
                        "this program and the operator differ, so this program may show less than \
                         there is; use the program of version {operator}"
                    )
                });
                Self {
                    operator: Some(operator),
                    warning,
                    ..Self::own()
                }
            }
            Err(why) => Self {
                notes: vec![format!("the operator's version cannot be read: {why}")],
                ..Self::own()
            },
        }
    }

    /// The versions as text for people.
    fn render(&self, client: bool) -> String {
        let mut text = format!("program   {}\n", self.program);
        // Writing to a String does not fail.
        if !client {
            let operator = self.operator.as_deref().unwrap_or("unknown");
            _ = writeln!(text, "operator  {operator}");
        }
        if let Some(warning) = &self.warning {
            _ = writeln!(text, "\nWarning: {warning}");
        }
        for note in &self.notes {
            _ = writeln!(text, "\nNote: {note}");
        }
        text
    }
}

/// Prints the versions on standard output. That of the operator may be unknown.
///
/// # Errors
/// If printing fails.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let scrape = if arguments.client {
        None
    } else {
        Some(match Cluster::connect(&arguments.cluster).await {
            Ok(cluster) => {
                let scrape = cluster.scrape().await;
                cluster.close().await;
                scrape
            }
            Err(error) => Err(format!("{error:#}")),
        })
    };
    print(&text(scrape, arguments.output)?)
}

fn text(scrape: Option<Result<Scrape, String>>, output: Output) -> anyhow::Result<String> {
    let client = scrape.is_none();
    let versions = scrape.map_or_else(Versions::own, Versions::with);
    Ok(match output {
        Output::Json => serde_json::to_string_pretty(&versions)? + "\n",
        Output::Table => versions.render(client),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::figures::parse;

    fn scrape(version: &str) -> Result<Scrape, String> {
        let build = format!("taskqueue_operator_build_info{{version=\"{version}\"}} 1\n");
        let build = if version.is_empty() { "" } else { &build };
        let metrics = format!("taskqueue_operator_leader 1\n{build}");
        parse(&metrics).map_err(|error| error.to_string())
    }

    #[test]
    fn the_version_of_the_operator_is_read_or_it_is_said_why_not() {
        let refused = || Err("you may not".to_owned());
        let warning = "this program and the operator differ, so this program may show less than \
                       there is; use the program of version 9.8.7";
        let unread = "the operator's version cannot be read";
        let table = [
            (None, format!("program   {OWN}\n")),
            (
                Some(scrape(OWN)),
                format!("program   {OWN}\noperator  {OWN}\n"),
            ),
            (
                Some(scrape("9.8.7")),
                format!("program   {OWN}\noperator  9.8.7\n\nWarning: {warning}\n"),
            ),
            (
                Some(scrape("")),
                format!(
                    "program   {OWN}\noperator  unknown\n\nNote: {unread}: its metrics do not name \
                     it\n"
                ),
            ),
            (
                Some(refused()),
                format!("program   {OWN}\noperator  unknown\n\nNote: {unread}: you may not\n"),
            ),
        ];
        for (scrape, expected) in table {
            assert_eq!(text(scrape, Output::Table).unwrap(), expected);
        }
        let json = |scrape| -> Value {
            serde_json::from_str(&text(Some(scrape), Output::Json).unwrap()).unwrap()
        };
        assert_eq!(
            json(scrape("9.8.7")),
            json!({"program": OWN, "operator": "9.8.7", "warning": warning, "notes": []})
        );
        assert_eq!(
            json(refused()),
            json!({"program": OWN, "notes": [format!("{unread}: you may not")]})
        );
    }
}
