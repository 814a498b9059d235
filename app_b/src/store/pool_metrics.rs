//! The metrics of the connection pool. Their names follow OpenTelemetry's semantic conventions for database clients.

use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntGauge, IntGaugeVec, Opts};
use service::metrics::LATENCY_BUCKETS;
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};

/// The metrics of one pool. The numbers of connections are read at each scrape.
#[derive(Debug, Clone)]
pub(super) struct PoolMetrics {
    pool: SqlitePool,
    /// Seconds that a lookup waits for a connection of the pool
    wait_time_seconds: Histogram,
    /// Open connections of the pool, by state: idle or used
    count: IntGaugeVec,
    /// The largest number of connections of the pool
    max: IntGauge,
}

impl PoolMetrics {
    pub(super) fn new(pool: &SqlitePool) -> Self {
        const VALID: &str = "the name and the labels of the metric are valid";
        let wait = HistogramOpts::new(
            "db_client_connection_wait_time_seconds",
            "Seconds that a lookup waits for a connection of the pool",
        );
        let count = Opts::new(
            "db_client_connection_count",
            "Open connections of the pool, by state: idle or used",
        );
        let max = Opts::new(
            "db_client_connection_max",
            "The largest number of connections of the pool",
        );
        let metrics = Self {
            pool: pool.clone(),
            wait_time_seconds: Histogram::with_opts(wait.buckets(LATENCY_BUCKETS.to_vec())).expect(VALID),
            count: IntGaugeVec::new(count, &["state"]).expect(VALID),
            max: IntGauge::with_opts(max).expect(VALID),
        };
        metrics.max.set(pool.options().get_max_connections().into());
        metrics
    }

    /// Takes a connection from the pool, and measures the wait.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        let start = Instant::now();
        let connection = self.pool.acquire().await;
        self.wait_time_seconds.observe(start.elapsed().as_secs_f64());
        connection
    }
}

impl Collector for PoolMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let Self {
            pool: _,
            wait_time_seconds,
            count,
            max,
        } = self;
        [wait_time_seconds.desc(), count.desc(), max.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The pool may change between the two reads, so the idle connections may exceed the open ones.
        let open = i64::from(self.pool.size());
        let idle = i64::try_from(self.pool.num_idle()).unwrap_or(i64::MAX).min(open);
        self.count.with_label_values(&["idle"]).set(idle);
        self.count.with_label_values(&["used"]).set(open - idle);
        [
            self.wait_time_seconds.collect(),
            self.count.collect(),
            self.max.collect(),
        ]
        .concat()
    }
}
