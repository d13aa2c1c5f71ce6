//! How answers and failures are converted, including those of old servers and odd numbers.

use temporalio_common::protos::temporal::api::deployment::v1::WorkerDeploymentOptions;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueueVersioningInfo;
use temporalio_common::protos::temporal::api::worker::v1::{WorkerHostInfo, WorkerListInfo};
use temporalio_common::protos::temporal::api::workflowservice::v1::describe_task_queue_response;

use super::*;

fn answer(stats: TaskQueueStats) -> DescribeTaskQueueResponse {
    DescribeTaskQueueResponse {
        stats: Some(stats),
        ..DescribeTaskQueueResponse::default()
    }
}

#[test]
fn statistics_are_converted_to_integers() {
    let stats = TaskQueueStats {
        approximate_backlog_count: 12,
        approximate_backlog_age: Duration::from_millis(1_500).try_into().ok(),
        tasks_add_rate: 2.5,
        tasks_dispatch_rate: 0.0004,
        rate_limiting_active: true,
    };
    let waiting = |approximate_backlog_count| TaskQueueStats {
        approximate_backlog_count,
        ..TaskQueueStats::default()
    };
    let described = described(&DescribeTaskQueueResponse {
        // A server may have more priorities than five.
        stats_by_priority_key: [(1, waiting(3)), (5, waiting(2)), (8, waiting(7))].into(),
        effective_rate_limit: Some(describe_task_queue_response::EffectiveRateLimit {
            requests_per_second: 5.0,
            ..describe_task_queue_response::EffectiveRateLimit::default()
        }),
        ..answer(stats)
    });
    assert_eq!(
        described,
        Ok(Described {
            count: 12,
            by_priority: [3, 0, 0, 0, 9],
            age: Duration::from_millis(1_500),
            add_rate_milli: 2_500,
            dispatch_rate_milli: 0,
            rate_limited: true,
            effective_limit_milli: Some(5_000),
            pollers: Some(0),
            routed: None,
        })
    );
}

#[test]
fn tasks_are_routed_to_the_current_and_ramping_versions_or_to_unversioned_workers() {
    let version = |build_id: &str| WorkerDeploymentVersion {
        deployment_name: "orders".to_owned(),
        build_id: build_id.to_owned(),
    };
    let poller = |build_id: Option<&str>| PollerInfo {
        deployment_options: build_id.map(|build_id| WorkerDeploymentOptions {
            deployment_name: "orders".to_owned(),
            build_id: build_id.trim_end_matches('?').to_owned(),
            // A worker that reports its version but does not use versioning.
            worker_versioning_mode: if build_id.ends_with('?') {
                WorkerVersioningMode::Unversioned.into()
            } else {
                WorkerVersioningMode::Versioned.into()
            },
        }),
        ..PollerInfo::default()
    };
    // The current version, the ramping version with its share, and the versions of the pollers.
    let found = |current: Option<&str>, ramping: (Option<&str>, f32), builds: &[Option<&str>]| {
        let answer = DescribeTaskQueueResponse {
            pollers: builds.iter().map(|build| poller(*build)).collect(),
            versioning_info: Some(TaskQueueVersioningInfo {
                current_deployment_version: current.map(version),
                ramping_deployment_version: ramping.0.map(version),
                ramping_version_percentage: ramping.1,
                ..TaskQueueVersioningInfo::default()
            }),
            ..answer(TaskQueueStats::default())
        };
        let old_server = DescribeTaskQueueResponse {
            versioning_info: None,
            ..answer.clone()
        };
        assert_eq!(described(&old_server).unwrap().routed, None);
        described(&answer).unwrap().routed
    };
    let nobody = (None, 0.0);
    assert_eq!(found(None, nobody, &[None]), Some(true));
    assert_eq!(found(None, nobody, &[Some("1?")]), Some(true));
    assert_eq!(found(None, nobody, &[Some("1")]), Some(false));
    assert_eq!(found(None, nobody, &[]), None);
    assert_eq!(found(Some("1"), nobody, &[Some("1")]), Some(true));
    assert_eq!(found(Some("1"), nobody, &[Some("2")]), Some(false));
    assert_eq!(found(Some("1"), nobody, &[None]), Some(false));
    assert_eq!(
        found(Some("1"), nobody, &[Some("2"), Some("1")]),
        Some(true)
    );
    let two = |share| (Some("2"), share);
    assert_eq!(found(Some("1"), two(10.0), &[Some("2")]), Some(true));
    assert_eq!(found(Some("1"), two(0.0), &[Some("2")]), Some(false));
    assert_eq!(found(None, two(10.0), &[Some("3")]), Some(false));
    // Tasks ramp to workers without versioning.
    assert_eq!(found(Some("1"), (None, 10.0), &[None]), Some(true));
}

#[test]
fn impossible_numbers_are_clamped() {
    for (rate, milli) in [
        (f32::NAN, 0),
        (f32::INFINITY, u64::MAX),
        (-1.0, 0),
        (1e30, u64::MAX),
    ] {
        let stats = TaskQueueStats {
            approximate_backlog_count: -3,
            tasks_add_rate: rate,
            ..TaskQueueStats::default()
        };
        let described = described(&answer(stats)).unwrap();
        assert_eq!(
            (described.count, described.add_rate_milli),
            (0, milli),
            "{rate}"
        );
    }
}

#[test]
fn an_answer_without_statistics_means_an_old_server_and_not_zero() {
    let old = described(&DescribeTaskQueueResponse::default()).unwrap_err();
    assert_eq!(old.kind, CallErrorKind::Unsupported);
    let old = described_past_cache(&DescribeTaskQueueResponse::default(), &[TaskType::Activity]);
    assert_eq!(old.unwrap_err().kind, CallErrorKind::Unsupported);
}

#[expect(clippy::unnecessary_wraps, reason = "matches the field's type")]
fn slots(used: i32, available: i32, processed: i32) -> Option<WorkerSlotsInfo> {
    Some(WorkerSlotsInfo {
        current_used_slots: used,
        current_available_slots: available,
        total_processed_tasks: processed,
        slot_supplier_kind: "Fixed".to_owned(),
        ..WorkerSlotsInfo::default()
    })
}

#[expect(clippy::unnecessary_wraps, reason = "matches the field's type")]
fn pollers(current_pollers: i32) -> Option<WorkerPollerInfo> {
    Some(WorkerPollerInfo {
        current_pollers,
        ..WorkerPollerInfo::default()
    })
}

#[test]
fn a_task_type_counts_if_the_worker_polls_it_or_works_on_it() {
    let known = |used, available, processed_total| {
        Some(TypeSlots {
            used,
            available,
            processed_total: Some(processed_total),
        })
    };
    for (slots, pollers, expected) in [
        (slots(0, 100, 0), pollers(0), None),
        (slots(0, 100, 0), pollers(2), known(0, Some(100), 0)),
        // All slots are in use: the worker does not poll, and yet it is the busiest of all.
        (slots(100, 0, 7), pollers(0), known(100, Some(0), 7)),
        (slots(0, 100, 7), pollers(0), known(0, Some(100), 7)),
        (slots(1, -1, 0), pollers(1), known(1, None, 0)),
        (slots(0, 5, 0), None, known(0, Some(5), 0)),
        // Go's count wraps around.
        (
            slots(1, 5, i32::MIN + 1),
            pollers(1),
            known(1, Some(5), (1 << 31) + 1),
        ),
        (
            slots(0, 5, -1),
            pollers(0),
            known(0, Some(5), (1 << 32) - 1),
        ),
        // Core's count, or a number of slots, that does not fit is unknown.
        (slots(-1, 5, 0), pollers(1), None),
        (
            slots(0, 5, i32::MIN),
            pollers(1),
            Some(TypeSlots {
                used: 0,
                available: Some(5),
                processed_total: None,
            }),
        ),
        // A fixed supplier that has not counted yet.
        (slots(0, 0, 0), pollers(1), known(0, None, 0)),
        (None, pollers(3), None),
    ] {
        assert_eq!(
            type_slots(slots.as_ref(), &[pollers.as_ref()]),
            expected,
            "{slots:?}"
        );
    }
}

#[test]
fn an_unbounded_slot_supplier_has_unknown_and_not_zero_free_slots() {
    let supplied = |kind: &str, used, available| {
        let slots = WorkerSlotsInfo {
            slot_supplier_kind: kind.to_owned(),
            ..slots(used, available, 0).unwrap()
        };
        type_slots(Some(&slots), &[pollers(1).as_ref()]).and_then(|slots| slots.available)
    };
    for (kind, used, available, expected) in [
        ("Fixed", 40, 0, Some(0)),
        ("Fixed", 40, 60, Some(60)),
        // What Go and Core send for a tuner that sizes by CPU and memory.
        ("ResourceBased", 40, 0, None),
        ("ResourceBased", 0, 0, None),
        ("my own", 40, 0, None),
        // A custom supplier that does report free slots is believed.
        ("my own", 40, 7, Some(7)),
        ("", 40, -1, None),
    ] {
        assert_eq!(supplied(kind, used, available), expected, "{kind}");
    }
}

fn info(key: &str) -> WorkerInfo {
    let heartbeat = WorkerHeartbeat {
        worker_instance_key: key.to_owned(),
        ..Default::default()
    };
    WorkerInfo {
        worker_heartbeat: Some(heartbeat),
    }
}

#[test]
#[expect(deprecated, reason = "it is what servers send")]
fn the_list_with_slots_is_preferred_and_the_bare_one_names_the_workers_to_describe() {
    let bare = WorkerListInfo {
        worker_instance_key: "a".to_owned(),
        task_queue: "orders".to_owned(),
        ..WorkerListInfo::default()
    };
    let both = page(ListWorkersResponse {
        workers_info: vec![info("a")],
        workers: vec![bare.clone()],
        next_page_token: vec![9],
    });
    let keys: Vec<_> = both
        .workers
        .iter()
        .map(|worker| worker.instance_key.as_str())
        .collect();
    assert_eq!(
        (keys, both.without_slots, both.next_page_token),
        (vec!["a"], vec![], vec![9])
    );
    let newer = page(ListWorkersResponse {
        workers: vec![bare],
        ..Default::default()
    });
    assert_eq!(
        newer,
        WorkersPage {
            without_slots: vec![ListedWorker {
                instance_key: "a".to_owned(),
                task_queue: "orders".to_owned()
            }],
            ..WorkersPage::default()
        }
    );
}

#[test]
fn the_kind_of_a_failure_follows_from_its_code() {
    let detail = b"type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure";
    for (status, kind) in [
        (Status::unavailable("shard"), CallErrorKind::Unavailable),
        (Status::deadline_exceeded("slow"), CallErrorKind::Timeout),
        (Status::cancelled("Timeout expired"), CallErrorKind::Timeout),
        (Status::resource_exhausted("rps"), CallErrorKind::Throttled),
        (Status::permission_denied("no"), CallErrorKind::Denied),
        (Status::unauthenticated("who"), CallErrorKind::Denied),
        (Status::unimplemented("what"), CallErrorKind::Unsupported),
        (Status::not_found("worker"), CallErrorKind::Failed),
        (Status::internal("bug"), CallErrorKind::Failed),
        (
            Status::with_details(Code::NotFound, "no such", detail.to_vec().into()),
            CallErrorKind::NamespaceNotFound,
        ),
    ] {
        let error = call_error(Method::ListWorkers, &status);
        assert_eq!(
            (error.kind, error.connection_lost),
            (kind, false),
            "{status:?}"
        );
    }
}

#[test]
fn a_failure_with_a_cause_is_a_failure_of_the_connection() {
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset by peer");
    let mut status = Status::unknown("transport error");
    status.set_source(std::sync::Arc::new(broken));
    assert_eq!(
        call_error(Method::DescribeTaskQueue, &status),
        CallError {
            kind: CallErrorKind::Unavailable,
            method: Method::DescribeTaskQueue,
            code: "Unknown",
            message: "reset by peer".to_owned(),
            connection_lost: true,
            fault: None,
        }
    );
}

#[test]
fn a_heartbeat_has_its_timestamp_its_interval_and_its_process() {
    let mut with_times = info("a");
    if let Some(heartbeat) = &mut with_times.worker_heartbeat {
        heartbeat.heartbeat_time =
            Some((std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)).into());
        heartbeat.elapsed_since_last_heartbeat = Duration::from_secs(5).try_into().ok();
        heartbeat.host_info = Some(WorkerHostInfo {
            worker_grouping_key: "one of a process".to_owned(),
            ..WorkerHostInfo::default()
        });
    }
    let heartbeat = heartbeat(with_times).unwrap();
    assert_eq!(heartbeat.sent_at, Some(1_500_000_000));
    assert_eq!(heartbeat.elapsed, Some(Duration::from_secs(5)));
    assert_eq!(heartbeat.process.as_deref(), Some("one of a process"));
    assert_eq!(super::heartbeat(WorkerInfo::default()), None);
}
