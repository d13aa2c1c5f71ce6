//! The part of a plan that is carried out when increases are decided again. Pure.

use crate::plan::{BudgetStep, Plan, Scale, Step};

/// Reduces a plan to the increases of the queues that `retried` accepts. Whoever changed their
/// Deployments may know better what else to write, so nothing else is written.
pub fn only(mut plan: Plan, retried: impl Fn(&str) -> bool) -> Plan {
    plan.prunes.clear();
    plan.queues.retain(|queue| {
        let grows = queue.scale.as_ref().is_some_and(Scale::grows);
        grows && retried(&queue.queue)
    });
    for queue in &mut plan.queues {
        queue.budget = BudgetStep::Keep;
        queue.protections.clear();
        queue.remember = None;
        if matches!(queue.step, Step::Create(_) | Step::Apply { .. }) {
            queue.step = Step::Keep;
        }
    }
    plan
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::fleet_state::FleetState;
    use crate::plan::{Prune, QueuePlan, ScalePrecondition};
    use crate::planner::plan;
    use crate::testing::{NOW, observed, simple, unseen};

    #[test]
    fn only_the_increases_of_retried_queues_remain() {
        let fleet = simple();
        let state = FleetState::default();
        let planned = plan(&fleet, &observed(&fleet, unseen()), &state, NOW);
        let of = |queue: &str, (from, to): (u32, u32), step: Step| QueuePlan {
            queue: queue.to_owned(),
            scale: Some(Scale {
                from,
                to,
                decided_on: ScalePrecondition::default(),
            }),
            step,
            budget: BudgetStep::Delete,
            ..planned.queues[0].clone()
        };
        let create = || Step::Create(Box::default());
        let before = Plan {
            queues: vec![
                of("grows", (1, 3), create()),
                of("grows-too", (1, 3), Step::Pending),
                of("shrinks", (3, 1), create()),
                of("not-retried", (1, 3), create()),
            ],
            prunes: vec![Prune {
                deployment_name: "orphan".to_owned(),
                uid: "7".to_owned(),
                queue: "b".to_owned(),
                backlog: None,
                budget: false,
            }],
            ..planned.clone()
        };
        let kept = |queue: &str, step: Step| QueuePlan {
            budget: BudgetStep::Keep,
            ..of(queue, (1, 3), step)
        };
        assert_eq!(
            only(before, |queue| queue != "not-retried"),
            Plan {
                queues: vec![kept("grows", Step::Keep), kept("grows-too", Step::Pending)],
                prunes: Vec::new(),
                ..planned.clone()
            }
        );
    }
}
