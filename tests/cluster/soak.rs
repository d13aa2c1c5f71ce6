//! The short version of the soak; `cargo sandbox soak` runs the long one.

use std::time::Duration;

use sandbox_bench::soak::{Options, soak};
use sandbox_machine::Progress;

use crate::harness::with_namespace;

#[tokio::test(flavor = "multi_thread")]
async fn fleets_that_scale_up_and_down_under_load_interrupt_no_activity() {
    with_namespace("a-short-soak", |cluster| async move {
        let options = Options {
            length: Duration::from_secs(30),
            longest: Duration::from_secs(30),
            kill_the_leader: false,
        };
        let soaked = cluster.clone();
        let report = tokio::task::spawn_blocking(move || {
            soak(
                &soaked.sandbox,
                &soaked.namespace,
                options,
                Progress::silent(),
            )
        })
        .await??;
        println!("{report}");
        report.verdict()?;
        Ok(())
    })
    .await;
}
