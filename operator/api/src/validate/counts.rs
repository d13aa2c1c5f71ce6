//! Numbers of pods that may also be percentages. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::validate::findings::Findings;

/// Finds a value that is neither a number from 0 nor a percentage from 0% to 100%.
pub(super) fn check(value: &IntOrString, path: String, findings: &mut Findings) {
    let sound = match value {
        IntOrString::Int(count) => *count >= 0,
        IntOrString::String(text) => text
            .strip_suffix('%')
            .and_then(|digits| digits.parse::<u8>().ok())
            .is_some_and(|percent| percent <= 100),
    };
    if !sound {
        findings.add(
            path,
            "must be a number from 0, or a percentage from 0% to 100%",
        );
    }
}
