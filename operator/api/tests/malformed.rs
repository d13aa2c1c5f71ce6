//! Compares what the API server must refuse with what the operator itself refuses. No I/O.

use taskqueue_api::{ClusterTemporalConnection, TaskQueueWorker, TemporalConnection, validate};
use taskqueue_testkit::malformed::{
    malformed, well_formed, well_formed_cluster_connection, well_formed_connection,
};

#[test]
fn each_malformed_resource_differs_from_an_accepted_one() {
    let mut worker: TaskQueueWorker = serde_json::from_value(well_formed()).unwrap();
    worker.metadata.uid = Some("uid".to_owned());
    validate(&worker).unwrap();
    let _: TemporalConnection = serde_json::from_value(well_formed_connection()).unwrap();
    let of_cluster = well_formed_cluster_connection();
    let _: ClusterTemporalConnection = serde_json::from_value(of_cluster.clone()).unwrap();
    for malformed in malformed() {
        for good in [well_formed(), well_formed_connection(), of_cluster.clone()] {
            assert_ne!(malformed.resource, good, "{}", malformed.mistake);
        }
    }
}

/// What an older definition lets pass must not pass the operator.
#[test]
fn a_malformed_resource_that_parses_is_refused_or_harmless() {
    let accepted: Vec<&str> = malformed()
        .into_iter()
        .filter(|malformed| {
            serde_json::from_value::<TaskQueueWorker>(malformed.resource.clone()).is_ok_and(
                |mut worker| {
                    worker.metadata.uid = Some("uid".to_owned());
                    validate(&worker).is_ok()
                },
            )
        })
        .map(|malformed| malformed.mistake)
        .collect();
    insta::assert_yaml_snapshot!(accepted);
}
