//! Compares what the API server must refuse with what the operator itself refuses. No I/O.

use taskqueue_api::{TaskQueueWorker, TemporalConnection, validate};
use taskqueue_testkit::malformed::{malformed, well_formed, well_formed_connection};

#[test]
fn each_malformed_resource_differs_from_an_accepted_one() {
    let mut worker: TaskQueueWorker = serde_json::from_value(well_formed()).unwrap();
    worker.metadata.uid = Some("uid".to_owned());
    validate(&worker).unwrap();
    let _: TemporalConnection = serde_json::from_value(well_formed_connection()).unwrap();
    for malformed in malformed() {
        assert_ne!(malformed.resource, well_formed(), "{}", malformed.mistake);
        assert_ne!(
            malformed.resource,
            well_formed_connection(),
            "{}",
            malformed.mistake
        );
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
