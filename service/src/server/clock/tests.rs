//! The clock of a connection, under paused time.

use axum::http::Version;
use tokio::time::advance;

use super::*;

const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
const MAX_AGE: Duration = Duration::from_secs(100);
const MOMENT: Duration = Duration::from_millis(1);

fn just_before(limit: Duration) -> Duration {
    limit.saturating_sub(MOMENT)
}

/// A connection without I/O.
struct Connection {
    activity: Arc<Activity>,
    clock: Clock,
}

impl Connection {
    fn accept() -> Self {
        Self::with(Activity::default())
    }

    fn with(activity: Activity) -> Self {
        let limits = Limits {
            header_read_timeout: HEADER_READ_TIMEOUT,
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
            max_age: Some(MAX_AGE),
        };
        let activity = Arc::new(activity);
        Self {
            clock: Clock::new(limits, Arc::clone(&activity)),
            activity,
        }
    }

    fn start_request(&mut self, version: Version) {
        self.activity.request_started(version);
        self.clock.observe();
    }

    fn end_request(&mut self) {
        self.activity.request_completed();
        self.clock.observe();
    }

    fn exchange(&mut self, version: Version) {
        self.start_request(version);
        self.end_request();
    }

    /// Asserts that the connection closes after the time `limit`, and not before.
    async fn closes_at(&mut self, limit: Duration, ending: Ending) {
        assert_eq!(self.verdict(just_before(limit)).await, Verdict::Continue);
        assert_eq!(self.verdict(MOMENT).await, Verdict::Close(ending));
    }

    /// The verdict `after` this time.
    async fn verdict(&mut self, after: Duration) -> Verdict {
        advance(after).await;
        self.clock.verdict()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_head_is_disconnected_at_the_header_read_timeout() {
    let mut connection = Connection::accept();
    assert_eq!(connection.clock.arm(), Instant::now() + HEADER_READ_TIMEOUT);
    connection
        .closes_at(HEADER_READ_TIMEOUT, Ending::HeaderTimeout)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_and_the_head_after_it_each_have_the_header_read_timeout() {
    let mut stalled = Connection::with(Activity::handshaking());
    let mut completed = Connection::with(Activity::handshaking());
    assert_eq!(
        stalled.verdict(just_before(HEADER_READ_TIMEOUT)).await,
        Verdict::Continue
    );
    completed.activity.handshake_completed();
    completed.clock.observe();
    assert_eq!(
        stalled.verdict(MOMENT).await,
        Verdict::Close(Ending::HandshakeTimeout)
    );
    assert_eq!(completed.clock.verdict(), Verdict::Continue);
    assert_eq!(
        completed.verdict(just_before(HEADER_READ_TIMEOUT)).await,
        Verdict::Close(Ending::HeaderTimeout)
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_byte_of_the_next_head_starts_the_header_read_timeout() {
    let mut connection = Connection::accept();
    connection.exchange(Version::HTTP_11);
    connection.clock.arm();
    connection.activity.bytes_arrived();
    // The timer is armed for the longer keep-alive timeout.
    assert!(connection.clock.observe());
    connection
        .closes_at(HEADER_READ_TIMEOUT, Ending::HeaderTimeout)
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_at_the_keep_alive_timeout() {
    let mut connection = Connection::accept();
    connection.exchange(Version::HTTP_11);
    connection
        .closes_at(KEEP_ALIVE_TIMEOUT, Ending::IdleTimeout)
        .await;
}

#[tokio::test(start_paused = true)]
async fn no_limit_of_the_clock_applies_to_a_request_in_flight() {
    let mut connection = Connection::accept();
    connection.start_request(Version::HTTP_11);
    connection.clock.enter(Stage::Draining);
    assert_eq!(connection.verdict(10 * MAX_AGE).await, Verdict::Continue);
}

#[tokio::test(start_paused = true)]
async fn an_http_1_connection_starts_to_close_at_its_maximum_age() {
    let mut connection = Connection::accept();
    connection.start_request(Version::HTTP_11);
    assert_eq!(connection.verdict(MAX_AGE.mul_f64(0.79)).await, Verdict::Continue);
    assert!(!connection.activity.is_closing(), "younger than 80 % of its age");
    assert_eq!(connection.verdict(MAX_AGE.mul_f64(0.42)).await, Verdict::Continue);
    assert!(connection.activity.is_closing(), "older than 120 % of its age");
}

#[tokio::test(start_paused = true)]
async fn an_http_2_connection_gets_one_goaway_and_time_for_requests_on_their_way() {
    let mut connection = Connection::accept();
    connection.exchange(Version::HTTP_2);
    connection.clock.enter(Stage::DrainDelay);
    assert_eq!(connection.verdict(MOMENT).await, Verdict::GoAway);
    assert_eq!(
        connection.verdict(just_before(KEEP_ALIVE_TIMEOUT)).await,
        Verdict::Continue
    );
    assert_eq!(connection.verdict(MOMENT).await, Verdict::Close(Ending::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn a_new_http_2_connection_gets_goaway_only_after_its_first_request() {
    let mut connection = Connection::accept();
    connection.clock.enter(Stage::DrainDelay);
    assert_eq!(connection.verdict(MOMENT).await, Verdict::Continue);
    connection.exchange(Version::HTTP_2);
    assert_eq!(connection.verdict(MOMENT).await, Verdict::GoAway);
}

#[tokio::test(start_paused = true)]
async fn draining_closes_a_quiet_connection_after_the_grace_time() {
    let mut idle = Connection::accept();
    idle.exchange(Version::HTTP_11);
    for mut connection in [idle, Connection::with(Activity::handshaking())] {
        connection.clock.enter(Stage::Draining);
        assert_eq!(connection.clock.arm(), Instant::now() + DRAIN_GRACE);
        assert_eq!(
            connection.verdict(just_before(DRAIN_GRACE)).await,
            Verdict::Continue
        );
        assert_eq!(connection.verdict(MOMENT).await, Verdict::Close(Ending::Shutdown));
    }
}

#[tokio::test(start_paused = true)]
async fn draining_gives_the_grace_time_to_the_handshake_and_to_the_head_after_it() {
    let mut connection = Connection::with(Activity::handshaking());
    connection.clock.enter(Stage::Draining);
    assert_eq!(
        connection.verdict(just_before(DRAIN_GRACE)).await,
        Verdict::Continue
    );
    connection.activity.handshake_completed();
    connection.clock.observe();
    assert_eq!(
        connection.verdict(just_before(DRAIN_GRACE)).await,
        Verdict::Continue
    );
    assert_eq!(connection.verdict(MOMENT).await, Verdict::Close(Ending::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn the_drain_deadline_closes_every_connection_and_aborts_only_requests_in_flight() {
    let (mut idle, mut busy) = (Connection::accept(), Connection::accept());
    idle.exchange(Version::HTTP_11);
    busy.start_request(Version::HTTP_11);
    for (connection, ending) in [(&mut idle, Ending::Shutdown), (&mut busy, Ending::Aborted)] {
        connection.clock.enter(Stage::Draining);
        connection.clock.enter(Stage::Deadline);
        assert_eq!(connection.clock.verdict(), Verdict::Close(ending));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_disconnected_and_draining_waits_for_it() {
    let mut connection = Connection::accept();
    connection.exchange(Version::HTTP_11);
    connection.activity.set_write_blocked(true);
    connection.clock.observe();
    connection.clock.enter(Stage::Draining);
    connection
        .closes_at(KEEP_ALIVE_TIMEOUT, Ending::WriteTimeout)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_close_its_side_is_disconnected() {
    let mut connection = Connection::accept();
    connection.exchange(Version::HTTP_11);
    connection.activity.linger();
    connection.clock.observe();
    assert_eq!(connection.verdict(just_before(LINGER)).await, Verdict::Continue);
    assert_eq!(connection.verdict(MOMENT).await, Verdict::Close(Ending::Client));
}
