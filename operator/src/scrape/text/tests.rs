//! Texts that SDKs really expose, texts that make no sense, and arbitrary texts.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<PerType<Option<TypeSlots>>, Failure> {
    slots(text, "orders")
}

#[expect(clippy::unnecessary_wraps, reason = "matches the field's type")]
fn type_slots(
    used: u32,
    available: Option<u32>,
    processed_total: Option<u64>,
) -> Option<TypeSlots> {
    Some(TypeSlots {
        used,
        available,
        processed_total,
    })
}

#[test]
fn the_slots_of_one_task_queue_are_found_among_everything_else() {
    let text = r#"# HELP temporal_worker_task_slots_used Current number of used slots per task type
# TYPE temporal_worker_task_slots_used gauge
temporal_worker_task_slots_used{namespace="default",service_name="temporal-core-sdk",task_queue="orders",worker_type="ActivityWorker"} 3
temporal_worker_task_slots_used{namespace="default",task_queue="orders",worker_type="WorkflowWorker"} 0
temporal_worker_task_slots_used{namespace="default",task_queue="orders",worker_type="LocalActivityWorker"} 9
temporal_worker_task_slots_used{namespace="default",task_queue="payments",worker_type="ActivityWorker"} 50
temporal_worker_task_slots_available{namespace="default",task_queue="orders",worker_type="ActivityWorker"} 97
temporal_activity_execution_latency_bucket{activity_type="reserve",task_queue="orders",le="50"} 7
temporal_activity_execution_latency_sum{activity_type="reserve",task_queue="orders"} 700
temporal_activity_execution_latency_count{activity_type="reserve",task_queue="orders"} 7
temporal_activity_execution_latency_count{activity_type="pay",task_queue="orders"} 5
temporal_workflow_task_execution_latency_count{task_queue="payments",workflow_type="Pay"} 8
go_goroutines this line is none of our business
"#;
    assert_eq!(
        read(text),
        Ok(PerType {
            workflow: type_slots(0, None, None),
            activity: type_slots(3, Some(97), Some(12)),
            nexus: None,
        })
    );
}

#[test]
fn units_in_names_times_exemplars_and_spaces_are_read() {
    let text = concat!(
        "temporal_worker_task_slots_used \
         { worker_type = \"NexusWorker\" , task_queue = \"orders\" , } 2.0 1700000000000\n",
        "temporal_nexus_task_execution_latency_seconds_count{task_queue=\"orders\"} 1e+02 # \
         {trace_id=\"a\"} 0.5\n",
        "temporal_worker_task_slots_available{task_queue=\"orders\",worker_type=\"NexusWorker\"} \
         -1\n",
        "# EOF\n",
    );
    assert_eq!(
        read(text),
        Ok(PerType {
            nexus: type_slots(2, None, Some(100)),
            ..PerType::default()
        })
    );
}

#[test]
fn a_task_queue_may_have_any_name() {
    let name = "a \"b\"\\c\nd},{e=";
    let label = name
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    let text = format!(
        "temporal_worker_task_slots_used{{task_queue=\"{label}\",worker_type=\"ActivityWorker\"}} 4"
    );
    let found = PerType {
        activity: type_slots(4, None, None),
        ..PerType::default()
    };
    assert_eq!(slots(&text, name), Ok(found));
}

#[test]
fn metrics_without_the_queue_are_no_answer_and_never_zero() {
    let other =
        r#"temporal_worker_task_slots_used{task_queue="other",worker_type="ActivityWorker"} 0"#;
    let only_free = "temporal_worker_task_slots_available\
                     {task_queue=\"orders\",worker_type=\"ActivityWorker\"} 9";
    let local = "temporal_worker_task_slots_used\
                 {task_queue=\"orders\",worker_type=\"LocalActivityWorker\"} 0";
    for text in [
        "",
        "# EOF\n",
        "<html>not found</html>",
        other,
        only_free,
        local,
    ] {
        assert_eq!(read(text), Err(Failure::NoSlots), "{text}");
    }
}

#[test]
fn an_invalid_line_about_slots_invalidates_the_answer() {
    let good =
        r#"temporal_worker_task_slots_used{task_queue="orders",worker_type="ActivityWorker"} 1"#;
    let labels = r#"task_queue="orders",worker_type="ActivityWorker""#;
    for bad in [
        format!("temporal_worker_task_slots_used{{{labels}}}"),
        format!("temporal_worker_task_slots_used{{{labels}}} many"),
        format!("temporal_worker_task_slots_used{{{labels}}} NaN"),
        format!("temporal_worker_task_slots_used{{{labels}}} +Inf"),
        format!("temporal_worker_task_slots_used{{{labels}}} -1"),
        format!("temporal_worker_task_slots_used{{{labels}}} 0.5"),
        format!("temporal_worker_task_slots_used{{{labels}}} 4294967296"),
        format!("temporal_worker_task_slots_used{{{labels} 1"),
        "temporal_worker_task_slots_used{task_queue=orders} 1".to_owned(),
        "temporal_worker_task_slots_used{task_queue=\"orders} 1".to_owned(),
        "temporal_activity_execution_latency_count{task_queue=\"orders\"} -3".to_owned(),
    ] {
        assert_eq!(
            read(&format!("{good}\n{bad}\n")),
            Err(Failure::Malformed),
            "{bad}"
        );
    }
}

fn exposed(task_queue: &str, kind: &str, of: TypeSlots, latency: &str) -> String {
    let label = task_queue
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    let labels = format!("task_queue=\"{label}\",worker_type=\"{kind}\"");
    let mut text = String::new();
    writeln!(
        text,
        "temporal_worker_task_slots_used{{{labels}}} {}",
        of.used
    )
    .unwrap();
    if let Some(available) = of.available {
        writeln!(
            text,
            "temporal_worker_task_slots_available{{{labels}}} {available}"
        )
        .unwrap();
    }
    if let Some(processed) = of.processed_total {
        writeln!(text, "{latency}_count{{{labels}}} {processed}").unwrap();
    }
    text
}

fn any_slots() -> impl Strategy<Value = TypeSlots> {
    let processed = proptest::option::of(0..=9_007_199_254_740_992_u64);
    (any::<u32>(), proptest::option::of(any::<u32>()), processed).prop_map(
        |(used, available, processed_total)| TypeSlots {
            used,
            available,
            processed_total,
        },
    )
}

proptest! {
    #[test]
    fn exposed_slots_are_found_among_any_other_text(
        workflow in any_slots(),
        activity in any_slots(),
        task_queue in "\\PC{1,40}",
        noise in proptest::collection::vec("[a-z# ]{0,10}[^\\r\\n]{0,40}", 0..8),
    ) {
        let noise: Vec<String> =
            noise.into_iter().filter(|line| !line.trim_start().starts_with("temporal_")).collect();
        let latency = "temporal_workflow_task_execution_latency_milliseconds";
        let mut text = noise.join("\n");
        text.push('\n');
        text.push_str(&exposed(&task_queue, "WorkflowWorker", workflow, latency));
        text.push_str(&noise.join("\n"));
        text.push('\n');
        let latency = "temporal_activity_execution_latency";
        text.push_str(&exposed(&task_queue, "ActivityWorker", activity, latency));
        let found = PerType {
            workflow: Some(workflow),
            activity: Some(activity),
            nexus: None,
        };
        prop_assert_eq!(slots(&text, &task_queue), Ok(found));
    }

    #[test]
    fn no_text_breaks_the_parser(
        text in "\\PC{0,200}",
        lines in proptest::collection::vec(
            "temporal_worker_task_slots_(used|available)[{}\"=, \\\\a-z_0-9.-]{0,60}", 0..4,
        ),
    ) {
        let all = format!("{text}\n{}", lines.join("\n"));
        let found = slots(&all, "orders");
        if let Ok(found) = found {
            prop_assert!(found.iter().any(|(_, slots)| slots.is_some()));
        }
    }
}
