//! A controller that ends although nobody stopped it.

use clap::Parser;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::testing::slow_api;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

#[tokio::test(start_paused = true)]
async fn the_work_ends_when_one_of_several_controllers_does() {
    let (client, _) = slow_api(|request| {
        let line = request.line.as_str();
        if line.contains("watch=true") {
            assert!(
                !line.contains("/namespaces/shop/pods?"),
                "this namespace breaks its controller"
            );
            return (Duration::from_mins(1), (200, Value::String(String::new())));
        }
        let list = json!({
            "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "50"}, "items": [],
        });
        (Duration::ZERO, (200, list))
    });
    drop(rustls::crypto::ring::default_provider().install_default());
    let settings = Line::parse_from(["run", "--watch-namespaces=bakery,shop"]).settings;
    let clock = Clock::start();
    let (metrics, health) = (Metrics::new(clock).unwrap(), Health::default());
    let parts = Parts {
        settings: &settings,
        client: &client,
        clock,
        metrics: &metrics,
        health: &health,
    };
    let stop = CancellationToken::new();
    let work = work(&parts, Leading::default(), &stop);
    let ended = timeout(Duration::from_hours(1), work).await;
    assert!(ended.is_ok_and(|ended| ended.is_err()), "it goes on");
    assert_eq!(health.phase(), Phase::Dead("a controller ended".to_owned()));
}
