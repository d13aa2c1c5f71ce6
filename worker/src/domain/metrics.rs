//! The metrics of the order system, `order_worker_*`. No I/O.

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounterVec, Opts, Registry, TextEncoder};

/// Handles of all metrics. Cheap to clone. Label values that are known in advance exist from the
/// start, as zero.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// `order_worker_orders_total{outcome}`: orders `created` and `paid` in the database, and the
    /// ends of unpaid orders: `cancelled`, `declined`, `out_of_stock`, `failed`.
    pub orders: IntCounterVec,
    /// `order_worker_payments_total{outcome}`: the gateway's answers, by attempt, and settlements.
    pub payments: IntCounterVec,
    /// `order_worker_payment_duration_seconds`: duration of one request to the gateway.
    pub payment_seconds: Histogram,
    /// `order_worker_mails_total{outcome}`: attempts to send one mail: `sent`, `refused`
    /// permanently, `put_off` by the server, `not_allowed` (it does not relay), `broken_off` before
    /// it had the mail, `unconfirmed` (it had the mail and did not answer), or `unavailable`. All
    /// but the first two are retried; `unconfirmed` twice.
    pub mails: IntCounterVec,
}

const ORDER_OUTCOMES: [&str; 6] = [
    "created",
    "paid",
    "cancelled",
    "declined",
    "out_of_stock",
    "failed",
];
const PAYMENT_OUTCOMES: [&str; 9] = [
    "charged",
    "declined",
    "refused",
    "rate_limited",
    "unavailable",
    "settled_charged",
    "settled_declined",
    "settled_voided",
    "unsettled",
];
const MAIL_OUTCOMES: [&str; 7] = [
    "sent",
    "refused",
    "put_off",
    "not_allowed",
    "broken_off",
    "unconfirmed",
    "unavailable",
];
/// Seconds, from a fast local answer to the request timeout of the gateway client.
const PAYMENT_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

impl Metrics {
    /// Registers all metrics in a new registry.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, outcomes: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
            registry.register(Box::new(counter.clone()))?;
            for outcome in outcomes {
                counter.with_label_values(&[*outcome]);
            }
            Ok::<_, prometheus::Error>(counter)
        };
        let orders = counter(
            "order_worker_orders_total",
            "Orders that this process created, marked as paid, or ended unpaid, in the database.",
            &ORDER_OUTCOMES,
        )?;
        let payments = counter(
            "order_worker_payments_total",
            "Answers of the payment gateway, by attempt, and settlements.",
            &PAYMENT_OUTCOMES,
        )?;
        let mails = counter(
            "order_worker_mails_total",
            "Attempts to send one mail, by what the mail server did.",
            &MAIL_OUTCOMES,
        )?;
        let payment_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "order_worker_payment_duration_seconds",
                "Time of one request to the payment gateway.",
            )
            .buckets(PAYMENT_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(payment_seconds.clone()))?;
        let build = IntCounterVec::new(
            Opts::new(
                "order_worker_build_info",
                "Always 1; the version as a label.",
            ),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).inc();
        Ok(Self {
            registry,
            orders,
            payments,
            payment_seconds,
            mails,
        })
    }

    /// Returns the metrics in Prometheus's text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }
}
