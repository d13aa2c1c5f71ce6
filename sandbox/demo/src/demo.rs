//! Runs the demo from beginning to end. Table of contents of the crate.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    chart::Scraped,
    check, dashboard,
    error::{Error, Result},
    fleet,
    orders::{self, Expected, Order, Pieces},
    placing,
    readings::Readings,
    screen::Screen,
    sources::{Fleet, Sources},
    summary,
    wait::{self, WaitTimes},
};
use jiff::Timestamp;
use sandbox_machine::{
    Attempt, Column, Image, ImageBinaries, Name, Progress, Sandbox, checkout, files, run_id, table,
};

/// The orders that ship with the project, in the checkout.
const ORDERS: &str = "sandbox/demo/orders.jsonl";
/// How many mismatches are printed.
const SHOWN: usize = 40;
/// How long Prometheus may take to scrape the end of the run.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(90);

/// What the person chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How many orders are placed: the first ones of the file, which begins again if it has fewer.
    /// Default: all.
    pub orders: Option<usize>,
    /// A file of orders, one JSON object per line as `order-worker start --file` takes it. Default:
    /// the one that ships with the project.
    pub file: Option<PathBuf>,
    /// A folder of finished static binaries for the images. Default: cargo builds them.
    pub binaries: Option<PathBuf>,
    /// Where the dashboard is drawn at the end, as SVG. Default: it is not drawn.
    pub picture: Option<PathBuf>,
}

/// Runs the whole demo. After printing everything, returns an error if an order did not end as
/// expected, or if the metrics do not show the scaling.
pub fn run(name: &Name, options: &Options, progress: Progress) -> Result<(), Error> {
    let result = run_through(name, options, progress);
    if let Err(Error::NotReached { state, .. }) = &result {
        Screen::new().print(&format!("\nThe state of the system:\n{state}\n"));
    }
    result
}

fn run_through(name: &Name, options: &Options, progress: Progress) -> Result<()> {
    let mut phases = Phases::default();
    let run_id = run_id();
    let orders = read_orders(options, &run_id)?;

    let binaries = ImageBinaries::of(&Image::ALL, options.binaries.as_deref(), progress)?;
    let sandbox = phases.time("sandbox up", || Sandbox::up(name, progress))?;
    let _only_one = lock(&sandbox)?;
    let loaded = phases.time("images", || sandbox.images(binaries, progress))?;
    sandbox.check_loaded(&loaded)?;
    progress.say("installing the operator with its chart");
    phases.time("operator installed", || sandbox.install_operator(&[]))?;
    progress.say(
        "applying the fleet crds/examples/orders.yaml and waiting until it is accepted and at zero",
    );
    let sources = Sources::of(&sandbox)?;
    phases.time("fleet accepted, at zero", || -> Result<()> {
        fleet::apply(&sandbox)?;
        wait::until_accepted_and_at_zero(&sandbox, &sources)
    })?;

    phases.time("Prometheus sees the fleet", || until_scraped(&sources))?;

    placing::migrate(&sandbox)?;
    let stock = sources.stock()?;
    let expected = orders::expect(&orders, &stock)?;

    let mut screen = Screen::new();
    screen.print(&format!(
        "\nRun {run_id}: placing {} orders; each is the workflow order-{run_id}-NUMBER.\n\n",
        orders.len()
    ));
    let placed_at = Timestamp::now();
    phases.time("orders placed", || {
        placing::place(&sandbox, &run_id, &orders)
    })?;
    let watched = follow(&sandbox, &sources, &run_id, &orders, &stock, &mut screen)?;
    phases.add("until every order had ended", watched.drained_after);
    phases.add("until the fleet was at zero", watched.zero_after);

    let readings = phases.time("read back", || sources.read(&run_id, &stock))?;
    let mismatches = report(&mut screen, &run_id, &expected, &readings);
    let metrics = phases.time("Prometheus", || {
        verify_metrics(&sources, placed_at, &mut screen)
    });
    if let Some(file) = &options.picture {
        draw(&sandbox, (placed_at, orders.len()), file, &mut screen)?;
    }
    screen.print(&phases.render());
    screen.print(&next_steps(&sandbox)?);
    if mismatches > 0 {
        return Err(Error::Mismatch(mismatches));
    }
    metrics
}

/// Watches the orders while some customers cancel theirs.
fn follow(
    sandbox: &Sandbox,
    sources: &Sources<'_>,
    run_id: &str,
    orders: &[Order],
    stock: &Pieces,
    screen: &mut Screen,
) -> Result<WaitTimes> {
    let cancellations = placing::cancel(sandbox, orders, stock)?;
    let watched = wait::until_done(sandbox, sources, run_id, orders.len() as u64, screen)?;
    for cancellation in cancellations {
        // What a refused cancellation did to its order shows in the checks; why it was refused
        // shows only here.
        if let Ok(Err(error)) = cancellation.join() {
            screen.print(&format!("A cancellation was refused: {error}\n"));
        }
    }
    Ok(watched)
}

/// Prints the summary and every mismatch; says how many there are.
fn report(screen: &mut Screen, run_id: &str, expected: &[Expected], readings: &Readings) -> usize {
    let mismatches = check::check(expected, readings);
    screen.print(&format!(
        "\nSUMMARY of run {run_id}. EXPECTED is derived from the orders; every other figure is \
         read back from the system that stores it.\n\n{}\n{}\n\nHow long tasks waited until a \
         worker took them (from the workflow histories; FIRST TAKEN counts from the queue's first \
         task, when the queue had no pod):\n\n{}\n",
        summary::summary(expected, readings),
        summary::retries(readings),
        summary::waits(readings, &queues()),
    ));
    if mismatches.is_empty() {
        screen.print(
            "VERIFIED, order by order: each accepted order was charged exactly once with the \
             right amount, every other order was not charged; each recipient has exactly one \
             mail; the stock fell by the paid items; every workflow is closed with the right \
             result.\n",
        );
    } else {
        let shown: Vec<String> = mismatches
            .iter()
            .take(SHOWN)
            .map(|mismatch| format!("  {mismatch}"))
            .collect();
        screen.print(&format!(
            "NOT AS EXPECTED, {} findings{}:\n{}\n",
            mismatches.len(),
            if mismatches.len() > SHOWN {
                format!(", the first {SHOWN}")
            } else {
                String::new()
            },
            shown.join("\n")
        ));
    }
    mismatches.len()
}

/// Prints what Prometheus scraped since the orders were placed, as soon as it has scraped the end.
fn verify_metrics(sources: &Sources<'_>, placed_at: Timestamp, screen: &mut Screen) -> Result<()> {
    let began = Instant::now();
    let queues = queues();
    let fleet = Fleet {
        namespace: fleet::NAMESPACE,
        name: fleet::NAME,
    };
    let (scraped, missing): (Scraped, Vec<String>) = loop {
        let from = placed_at.as_second();
        let scraped = sources.scraped(&fleet, from, Timestamp::now().as_second())?;
        let missing = scraped.missing(&queues);
        if missing.is_empty() || began.elapsed() > SCRAPE_TIMEOUT {
            break (scraped, missing);
        }
        thread::sleep(Duration::from_secs(2));
    };
    screen.print(&format!(
        "\nWhat Prometheus scraped from the operator during the run: tasks in the backlog, \
         replicas desired, replicas ready.\n{}",
        scraped.render(&queues)
    ));
    if missing.is_empty() {
        screen.print(
            "SHOWN for each queue: the backlog rose, the replicas followed, and both \
                      returned to zero.\n",
        );
        Ok(())
    } else {
        Err(Error::Metrics(missing.join("\n")))
    }
}

/// Waits until Prometheus scrapes the operator: after an installation it is a new pod, and what is
/// not scraped from the beginning cannot show a rise from zero.
fn until_scraped(sources: &Sources<'_>) -> Result<()> {
    let began = Instant::now();
    let fleet = Fleet {
        namespace: fleet::NAMESPACE,
        name: fleet::NAME,
    };
    loop {
        let seen = sources.scraped_just_now(&fleet, Timestamp::now().as_second())?;
        let missing: Vec<String> = queues()
            .into_iter()
            .filter(|queue| !seen.contains(queue))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if began.elapsed() > SCRAPE_TIMEOUT {
            return Err(Error::Metrics(format!(
                "Prometheus did not scrape the operator within {} s for these queues: {}",
                SCRAPE_TIMEOUT.as_secs(),
                missing.join(", ")
            )));
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Draws the dashboard of the run.
fn draw(
    sandbox: &Sandbox,
    (placed_at, orders): (Timestamp, usize),
    file: &Path,
    screen: &mut Screen,
) -> Result<()> {
    let now = Timestamp::now();
    // From a little before the first order, so that the rise can be seen.
    let from = placed_at.as_second() - 10;
    let caption = format!(
        "A run of the demo on {}: {orders} orders on the fleet {}/{}, from zero and back to zero; \
         minutes:seconds",
        now.strftime("%Y-%m-%d"),
        fleet::NAMESPACE,
        fleet::NAME
    );
    dashboard::draw(
        sandbox,
        &dashboard::panels::variables(
            fleet::NAMESPACE,
            fleet::NAME,
            ".*",
            dashboard::RATE_INTERVAL,
        ),
        (from, now.as_second()),
        &caption,
        file,
    )?;
    screen.print(&format!(
        "The dashboard of the run is drawn in {}\n",
        file.display()
    ));
    Ok(())
}

fn next_steps(sandbox: &Sandbox) -> Result<String> {
    let name = &sandbox.paths().name;
    let command = if name.is_default() {
        "cargo sandbox".to_owned()
    } else {
        format!("cargo sandbox --name {name}")
    };
    let (fleet, namespace) = (fleet::NAME, fleet::NAMESPACE);
    let ways = [
        (
            format!("kubectl get tqw -n {namespace}"),
            "the fleet in one line",
        ),
        (
            format!("kubectl describe tqw {fleet} -n {namespace}"),
            "the last decision for each queue, and the reason",
        ),
        (
            format!("kubectl get deployments,pods -n {namespace}"),
            "what the operator created for it",
        ),
        (
            "demo --orders 1000".to_owned(),
            "more orders; the demo repeats the file if needed",
        ),
        ("status".to_owned(), "every component and its address"),
        ("down".to_owned(), "stop everything; the state stays"),
    ];
    let ways = ways.map(|(way, what)| format!("  {:<64}{what}\n", format!("{command} {way}")));
    Ok(format!(
        "\nTemporal's UI: http://{}    Prometheus: {}\nContinue by hand:\n{}\n",
        sandbox.address("temporal-ui")?,
        sandbox.prometheus()?,
        ways.concat()
    ))
}

fn queues() -> Vec<String> {
    fleet::QUEUES.map(str::to_owned).to_vec()
}

fn read_orders(options: &Options, run_id: &str) -> Result<Vec<Order>> {
    let file = match &options.file {
        Some(file) => file.clone(),
        None => checkout()?.join(ORDERS),
    };
    let text = fs::read_to_string(&file).attempt(|| format!("reading {}", file.display()))?;
    orders::parse(&text, run_id, options.orders)
}

/// Two demos at once would count each other's stock.
fn lock(sandbox: &Sandbox) -> Result<fs::File> {
    let folder = sandbox.paths().state.join("demo");
    files::make_folder(&folder)?;
    let file = folder.join("lock");
    let lock = fs::File::create(&file).attempt(|| format!("creating {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::Sandbox(sandbox_machine::Error::Usage(format!(
                "another demo is running in the sandbox {}; wait until it ends",
                sandbox.paths().name
            ))))
        }
        Err(fs::TryLockError::Error(error)) => Err(Error::source(
            format!("the lock {}", file.display()),
            error.to_string(),
        )),
    }
}

/// How long each part took.
#[derive(Debug, Default)]
struct Phases(Vec<(&'static str, Duration)>);

impl Phases {
    fn time<T, E>(
        &mut self,
        what: &'static str,
        part: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = part();
        self.add(what, began.elapsed());
        result
    }

    fn add(&mut self, what: &'static str, took: Duration) {
        self.0.push((what, took));
    }

    fn render(&self) -> String {
        let columns = [Column::Words("PHASE"), Column::Numbers("SECONDS")];
        let rows = self
            .0
            .iter()
            .map(|(what, took)| [(*what).to_owned(), format!("{:.1}", took.as_secs_f64())]);
        format!("\n{}", table(columns, rows))
    }
}
