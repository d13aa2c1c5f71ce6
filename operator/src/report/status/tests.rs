//! What is kept of the old status.

use crate::report::testing::{Passed, healthy, status_with};
use crate::testing::unseen;

#[test]
fn a_restarted_operator_keeps_the_former_conditions() {
    let known = status_with("ScalingActive", "False", "NotPolling");
    let mut starting = healthy();
    starting.reading.backlog = unseen().reading.backlog;
    let passed = Passed::of(starting);
    let at = |generation| passed.status(&known, generation);
    assert_eq!(at(1).conditions[2], known.conditions[0]);
    assert_eq!(
        at(2).conditions[2].reason,
        "Starting",
        "that was about another spec"
    );
}
