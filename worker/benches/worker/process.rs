//! A measured worker process: starts it and reads its cost from `/proc`.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use taskqueue_worker::testing::eventually;
use temporalio_client::Client;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;

use crate::cargo::scratch;
use crate::load::Round;

/// Clock ticks per second in `/proc/PID/stat`: a constant of Linux's user-space interface.
const TICKS: f64 = 100.0;

/// What a worker connects to, and whether the Go worker starts activities eagerly.
pub(crate) struct Services {
    pub(crate) temporal: String,
    pub(crate) database: String,
    pub(crate) gateway: String,
    pub(crate) eager: bool,
}

/// Memory of a process, in megabytes (10^6 bytes).
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// All resident memory, including the used pages of the binary.
    pub(crate) resident: f64,
    /// Peak resident memory.
    pub(crate) highest: f64,
    /// Anonymous memory: the part that does not come from the binary.
    pub(crate) anonymous: f64,
}

/// A process that is killed on drop.
pub(crate) struct Process {
    child: Child,
    started: SystemTime,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Process {
    /// Starts a worker on a task queue with default settings.
    pub(crate) fn start(
        program: &Path,
        arguments: &[OsString],
        services: &Services,
        queue: &str,
    ) -> Self {
        let log = scratch().join(format!("{queue}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("TEMPORAL_ADDRESS", &services.temporal)
            .env("TEMPORAL_TASK_QUEUE", queue)
            .env("DATABASE_URL", &services.database)
            .env("PAYMENT_GATEWAY_URL", &services.gateway)
            .env("SMTP_URL", "console:")
            .env("TASKQUEUE_WORKER_HTTP_ADDRESS", "127.0.0.1:0")
            .env("BENCH_EAGER", services.eager.to_string())
            // Keeps the Python worker from creating a folder beside the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let started = SystemTime::now();
        let child = command.spawn().unwrap();
        Self {
            child,
            started,
            log,
        }
    }

    /// The time from exec until Temporal received the first activity poll, by Temporal's clock,
    /// which is this machine's.
    pub(crate) async fn first_poll(&mut self, client: &Client, queue: &str) -> Duration {
        let polled = eventually("the worker polls", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("a worker ended with {status}:\n{log}");
            }
            last_poll(client, queue).await
        })
        .await;
        polled.duration_since(self.started).unwrap()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = self.proc("status");
        let megabytes = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            let kilobytes: u32 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            f64::from(kilobytes) * 1024.0 / 1e6
        };
        Memory {
            resident: megabytes("VmRSS:"),
            highest: megabytes("VmHWM:"),
            anonymous: megabytes("RssAnon:"),
        }
    }

    /// Processor time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u32 = [11, 12]
            .iter()
            .map(|n| fields[*n].parse::<u32>().unwrap())
            .sum();
        f64::from(ticks) / TICKS
    }

    /// Runs some work. Returns its rate and this worker's processor time per task.
    pub(crate) async fn measure(&self, count: usize, work: impl Future<Output = ()>) -> Round {
        let (cpu, started) = (self.cpu(), Instant::now());
        work.await;
        let tasks = f64::from(u32::try_from(count).unwrap());
        Round {
            per_second: tasks / started.elapsed().as_secs_f64(),
            milliseconds: (self.cpu() - cpu) * 1000.0 / tasks,
        }
    }
}

/// When a worker last polled the queue for activities, or `None` if none has yet.
async fn last_poll(client: &Client, queue: &str) -> Option<SystemTime> {
    let request = DescribeTaskQueueRequest {
        namespace: client.options().namespace.clone(),
        task_queue: Some(TaskQueue {
            name: queue.to_owned(),
            ..TaskQueue::default()
        }),
        task_queue_type: TaskQueueType::Activity.into(),
        ..DescribeTaskQueueRequest::default()
    };
    let mut service = client.connection().workflow_service();
    let answer = service
        .describe_task_queue(request.into_request())
        .await
        .unwrap()
        .into_inner();
    let times = answer.pollers.iter().filter_map(|poller| {
        let time = poller.last_access_time.as_ref()?;
        let seconds = u64::try_from(time.seconds).ok()?;
        let nanoseconds = u32::try_from(time.nanos).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
    });
    times.min()
}
