//! Checks the workloads that queues name instead of a template. Pure.

use crate::fleet::ScaleTarget;
use crate::validate::findings::Findings;
use crate::worker::QueueSpec;

/// The workload that a queue names, if it names one.
pub(super) fn parse(queue: &QueueSpec, findings: &mut Findings) -> Option<ScaleTarget> {
    let reference = queue.scale_target_ref.as_ref()?;
    let path = format!("spec.queues[{}].scaleTargetRef", queue.name);
    let of_pods = [
        ("template", queue.template.is_some()),
        ("deployment", queue.deployment.is_some()),
        ("resources", queue.resources.is_some()),
        ("env", !queue.env.is_empty()),
        ("nodeSelector", !queue.node_selector.is_empty()),
        ("tolerations", !queue.tolerations.is_empty()),
        ("priorityClassName", queue.priority_class_name.is_some()),
    ];
    for (field, _) in of_pods.into_iter().filter(|(_, set)| *set) {
        findings.add(
            &path,
            format!("must not be set together with {field}: somebody else deploys the pods"),
        );
    }
    for (field, value) in [
        ("apiVersion", &reference.api_version),
        ("kind", &reference.kind),
        ("name", &reference.name),
    ] {
        if !is_plain(field, value) {
            findings.add(
                format!("{path}.{field}"),
                "must name a workload, as in apiVersion: apps/v1, kind: Deployment, name: worker",
            );
        }
    }
    Some(reference.into())
}

/// Whether a value can be a part of the path of a request.
fn is_plain(field: &str, value: &str) -> bool {
    let slashes = usize::from(field == "apiVersion");
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/');
    !value.is_empty()
        && value.chars().all(allowed)
        && value.matches('/').count() <= slashes
        && value
            .split('/')
            .all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// Finds workloads that two queues name.
pub(super) fn check_distinct(queues: &[QueueSpec], findings: &mut Findings) {
    let mut seen: Vec<(ScaleTarget, &str)> = Vec::new();
    for queue in queues {
        let Some(reference) = &queue.scale_target_ref else {
            continue;
        };
        let target = ScaleTarget::from(reference);
        match seen.iter().find(|(known, _)| known.is_same(&target)) {
            Some((_, other)) => findings.add(
                format!("spec.queues[{}].scaleTargetRef", queue.name),
                format!(
                    "queue {other} scales the same workload, so each would undo what the other does"
                ),
            ),
            None => seen.push((target, &queue.name)),
        }
    }
}
