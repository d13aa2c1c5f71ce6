//! Background scraping of scripted pods and over a real socket.

use std::net::Ipv4Addr;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use taskqueue_scaling::{PodPhase, PodSlots};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn owner() -> OwnerKey {
    OwnerKey {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
    }
}

fn exposed(used: u32) -> String {
    format!(
        "temporal_worker_task_slots_used{{task_queue=\"orders\",worker_type=\"ActivityWorker\"}} \
         {used}\n"
    )
}

/// Pods that take one second to answer.
struct Slow;

impl Fetch for Slow {
    fn fetch(&self, _: IpAddr, _: u16) -> BoxFuture<'static, Result<String, Failure>> {
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(exposed(1))
        }
        .boxed()
    }
}

fn target(pods: usize) -> Target {
    let address = |pod: usize| {
        let [high, low] = u16::try_from(pod).unwrap().to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
    };
    Target {
        task_queue: "orders".to_owned(),
        port: 9090,
        interval: Duration::from_secs(5),
        pods: (0..pods)
            .map(|pod| (format!("p{pod}"), address(pod)))
            .collect(),
    }
}

fn ready(target: &Target) -> Vec<LivePod> {
    let pod = |name: &String| LivePod {
        name: name.clone(),
        phase: PodPhase::Ready,
    };
    target.pods.keys().map(pod).collect()
}

#[tokio::test(start_paused = true)]
async fn pods_are_scraped_a_few_at_a_time_and_the_owner_is_notified_when_all_have_answered() {
    let clock = Clock::start();
    let (sender, mut news) = mpsc::unbounded_channel();
    let scrapers = Scrapers::new(Arc::new(Slow), clock, sender);
    let target = target(2 * AT_ONCE);
    let pods = ready(&target);
    let began = clock.now().monotonic;
    let first = scrapers.scrape(&owner(), "a", target.clone(), &pods, began);
    assert_eq!(first.slots.known(), None, "nothing has been read yet");
    assert_eq!(news.recv().await, Some(owner()));
    let now = clock.now().monotonic;
    // Two batches of one second each: without the limit it would have been one.
    assert_eq!(now.since(began), Duration::from_secs(2));
    let found = scrapers.scrape(&owner(), "a", target, &pods, now);
    let slots = found.slots.known().unwrap();
    assert!(
        slots.pods.iter().all(|pod| pod.used() == Some(1)),
        "{slots:?}"
    );
    assert_eq!((slots.pods.len(), found.failure), (pods.len(), None));
}

/// Pods of which one has an answer that nobody foresaw.
struct OneOutOfHand;

impl Fetch for OneOutOfHand {
    fn fetch(&self, address: IpAddr, _: u16) -> BoxFuture<'static, Result<String, Failure>> {
        async move {
            assert_ne!(
                address,
                IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
                "as scripted"
            );
            Ok(exposed(1))
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_panics_is_the_failure_of_its_pod_alone() {
    let clock = Clock::start();
    let (sender, mut news) = mpsc::unbounded_channel();
    let scrapers = Scrapers::new(Arc::new(OneOutOfHand), clock, sender);
    let target = target(3);
    let pods = ready(&target);
    let now = clock.now().monotonic;
    scrapers.scrape(&owner(), "a", target.clone(), &pods, now);
    assert_eq!(news.recv().await, Some(owner()));
    let found = scrapers.scrape(&owner(), "a", target, &pods, now);
    assert_eq!(found.failure, Some(Failure::Panicked));
    assert_eq!((found.counts["ok"], found.counts["panicked"]), (2, 1));
    let used = found.slots.known().unwrap().pods.iter().map(PodSlots::used);
    assert_eq!(used.collect::<Vec<_>>(), [Some(1), None, Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn rounds_that_panic_begin_anew_at_the_next_pass() {
    let clock = Clock::start();
    let (sender, mut news) = mpsc::unbounded_channel();
    let scrapers = Scrapers::new(Arc::new(Slow), clock, sender);
    let target = target(1);
    let pods = ready(&target);
    let now = || clock.now().monotonic;
    scrapers.scrape(&owner(), "a", target.clone(), &pods, now());
    assert_eq!(news.recv().await, Some(owner()));
    let key = (owner(), "a".to_owned());
    let task = scrapers.inner.queues()[&key].task.abort_handle();
    task.abort();
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
    scrapers.scrape(&owner(), "a", target.clone(), &pods, now());
    assert_eq!(news.recv().await, Some(owner()));
    let found = scrapers.scrape(&owner(), "a", target, &pods, now());
    assert_eq!((found.failure, found.counts["ok"]), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_no_longer_wanted_is_no_longer_scraped() {
    let clock = Clock::start();
    let (sender, mut news) = mpsc::unbounded_channel();
    let scrapers = Scrapers::new(Arc::new(Slow), clock, sender);
    let target = target(1);
    let pods = ready(&target);
    for queue in ["a", "b"] {
        scrapers.scrape(
            &owner(),
            queue,
            target.clone(),
            &pods,
            clock.now().monotonic,
        );
    }
    scrapers.keep_only(&owner(), |queue| queue == "b");
    assert_eq!(news.recv().await, Some(owner()));
    scrapers.forget(&owner());
    drop(scrapers);
    let ended = async { while news.recv().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_mins(1), ended).await;
    assert!(ended.is_ok(), "every task has ended");
}

/// Serves `answer` to each connection. Returns the address.
async fn serve(answer: Vec<u8>) -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0_u8; 1024];
                if stream.read(&mut request).await.is_ok() {
                    // A client that has read enough closes the connection early.
                    drop(stream.write_all(&answer).await);
                }
            });
        }
    });
    address
}

async fn fetched(answer: impl Into<Vec<u8>>) -> Result<String, Failure> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let address = serve(answer.into()).await;
    let http = Http::new().unwrap();
    http.fetch(address.ip(), address.port()).await
}

#[tokio::test]
async fn an_answer_is_read_completely_and_up_to_the_limit() {
    let ok = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    assert_eq!(fetched(format!("{ok}{}", exposed(3))).await, Ok(exposed(3)));
    let endless = format!("{ok}{}", "# x\n".repeat(fetch::LARGEST / 4 + 1));
    assert_eq!(fetched(endless).await, Err(Failure::TooLarge));
    let bytes = [ok.as_bytes(), &[0xff, 0xfe]].concat();
    assert_eq!(fetched(bytes).await, Err(Failure::Malformed));
}

#[tokio::test]
async fn redirects_errors_and_closed_ports_are_failures() {
    let away = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(fetched(away).await, Err(Failure::Status));
    let broken = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(fetched(broken).await, Err(Failure::Status));
    let http = Http::new().unwrap();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    assert_eq!(
        http.fetch(address.ip(), address.port()).await,
        Err(Failure::Unreachable)
    );
}
