//! The addresses of one host: resolved once before the load, or resolved again when the last DNS answer is too old.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, task::spawn_blocking};

use super::failure::Failure;

/// Resolves host names.
pub(crate) trait Resolver: fmt::Debug + Send + Sync {
    /// Returns all addresses of a host. Blocks the thread.
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of this machine: its hosts file, DNS and all other configured sources.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// One host, shared by all stripes.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// The addresses that accepted a connection before the load.
    initial_addresses: Arc<[SocketAddr]>,
    /// The DNS name to resolve again; `None` for fixed addresses.
    dns_name: Option<Arc<DnsName>>,
}

#[derive(Debug)]
struct DnsName {
    host: String,
    port: u16,
    /// The maximum age of a lookup.
    ttl: Duration,
    resolver: Arc<dyn Resolver>,
    /// The last lookup. Locked while the next lookup runs.
    cached: Arc<Mutex<CachedLookup>>,
}

#[derive(Debug)]
struct CachedLookup {
    /// The start of the lookup. The answer can be as old as this.
    started: Instant,
    addresses: Result<Arc<[SocketAddr]>, Failure>,
}

impl CachedLookup {
    /// Returns whether the lookup is fresh enough for a connection requested at `requested`.
    ///
    /// A failed lookup is only valid for the requests that waited for it.
    fn is_fresh(&self, requested: Instant, ttl: Duration) -> bool {
        let lifetime = if self.addresses.is_ok() {
            ttl
        } else {
            Duration::ZERO
        };
        requested.saturating_duration_since(self.started) <= lifetime
    }
}

impl Host {
    /// Creates a host with addresses that do not change.
    pub(crate) fn fixed(addresses: Vec<SocketAddr>) -> Self {
        Self {
            initial_addresses: addresses.into(),
            dns_name: None,
        }
    }

    /// Creates a host with the addresses of a lookup that started at `started`.
    ///
    /// The host is resolved again when the last lookup is older than `ttl`.
    pub(crate) fn named(
        (host, port): (&str, u16),
        (addresses, started): (Vec<SocketAddr>, Instant),
        ttl: Duration,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let initial_addresses: Arc<[SocketAddr]> = addresses.into();
        let lookup = CachedLookup {
            started,
            addresses: Ok(Arc::clone(&initial_addresses)),
        };
        Self {
            initial_addresses,
            dns_name: Some(Arc::new(DnsName {
                host: host.to_owned(),
                port,
                ttl,
                resolver,
                cached: Arc::new(Mutex::new(lookup)),
            })),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_resolved_again(&self) -> bool {
        self.dns_name.is_some()
    }

    /// Returns the addresses for a connection that is opened now; at least one.
    ///
    /// One lookup runs at a time. All requests that came before its start share its answer. A lookup continues after
    /// its request timed out, so hanging lookups do not accumulate.
    pub(crate) async fn addresses(&self) -> Result<Arc<[SocketAddr]>, Failure> {
        let Some(name) = &self.dns_name else {
            return Ok(Arc::clone(&self.initial_addresses));
        };
        let requested = Instant::now();
        let mut cached = Arc::clone(&name.cached).lock_owned().await;
        if cached.is_fresh(requested, name.ttl) {
            return cached.addresses.clone();
        }
        let (name, initial) = (Arc::clone(name), Arc::clone(&self.initial_addresses));
        let lookup = spawn_blocking(move || {
            cached.started = Instant::now();
            cached.addresses = name.look_up(&initial);
            cached.addresses.clone()
        });
        lookup.await.expect("a lookup does not panic")
    }
}

impl DnsName {
    fn look_up(&self, initial: &[SocketAddr]) -> Result<Arc<[SocketAddr]>, Failure> {
        let failure = |error| Failure::lookup(&self.host, &error);
        let mut addresses = self.resolver.addresses(&self.host, self.port).map_err(failure)?;
        // A host often accepts connections on one IP version only, for example `localhost`: keep this version.
        let is_reachable =
            |address: &SocketAddr| initial.iter().any(|one| one.is_ipv4() == address.is_ipv4());
        if addresses.iter().any(is_reachable) {
            addresses.retain(is_reachable);
        }
        // DNS servers rotate the order of their answers. Without sorting, round-robin could pick the same address
        // each time.
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(failure(io::Error::other("the host has no address")));
        }
        Ok(addresses.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        net::TcpListener,
        sync::{Mutex as Shared, mpsc},
    };

    use tokio::{
        sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        task::{JoinSet, yield_now},
        time::timeout,
    };

    use super::{
        super::{
            dialer::Dialer,
            failure::FailureKind,
            network::{Network, Stream},
            target::Origin,
        },
        *,
    };

    const MINUTE: Duration = Duration::from_mins(1);
    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Returns the answer that the test sets.
    #[derive(Debug)]
    struct FakeResolver(Shared<Result<Vec<SocketAddr>, &'static str>>);

    impl FakeResolver {
        fn with(addresses: &[SocketAddr]) -> Arc<Self> {
            Arc::new(Self(Shared::new(Ok(addresses.to_vec()))))
        }

        fn set(&self, answer: Result<&[SocketAddr], &'static str>) {
            *self.0.lock().unwrap() = answer.map(<[_]>::to_vec);
        }
    }

    impl Resolver for FakeResolver {
        fn addresses(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            assert_eq!(host, "pods.example");
            self.0.lock().unwrap().clone().map_err(io::Error::other)
        }
    }

    fn host(addresses: &[SocketAddr], age: Duration, ttl: Duration, resolver: Arc<dyn Resolver>) -> Host {
        let started = Instant::now().checked_sub(age).unwrap();
        Host::named(("pods.example", 80), (addresses.to_vec(), started), ttl, resolver)
    }

    fn dialer(host: Host) -> Dialer {
        dialer_of_stripe(0, host)
    }

    fn dialer_of_stripe(stripe: u64, host: Host) -> Dialer {
        let origin = Origin {
            is_tls: false,
            host: "pods.example".to_owned(),
            port: 80,
        };
        Dialer::new(Network::default(), origin, host, None, stripe)
    }

    /// Opens a connection and returns its peer address.
    async fn dialed_address(dialer: &Dialer) -> SocketAddr {
        match dialer.dial().await.unwrap().stream {
            Stream::Plain(stream) => stream.peer_addr().unwrap(),
            Stream::Tls(_) => panic!("the connection uses TLS"),
        }
    }

    fn pods<const COUNT: usize>() -> ([TcpListener; COUNT], [SocketAddr; COUNT]) {
        let pods = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = std::array::from_fn(|pod| pods[pod].local_addr().unwrap());
        (pods, addresses)
    }

    #[tokio::test]
    async fn connections_use_new_addresses_only_after_the_lookup_expires() {
        let (_pods, [old, new, newer]) = pods();
        let resolver = FakeResolver::with(&[new]);
        let age = Duration::from_secs(2);
        let valid = dialer(host(&[old], age, MINUTE, resolver.clone()));
        assert_eq!(
            (dialed_address(&valid).await, dialed_address(&valid).await),
            (old, old)
        );

        let expired = dialer(host(&[old], age, Duration::from_secs(1), resolver.clone()));
        assert_eq!(dialed_address(&expired).await, new);
        let renewed = dialer(host(&[old], MINUTE, Duration::from_secs(59), resolver.clone()));
        assert_eq!(dialed_address(&renewed).await, new);
        resolver.set(Ok(&[newer]));
        assert_eq!(dialed_address(&renewed).await, new, "the second lookup is fresh");

        let uncached = dialer(host(&[old], Duration::ZERO, Duration::ZERO, resolver.clone()));
        assert_eq!(dialed_address(&uncached).await, newer);
        resolver.set(Ok(&[old]));
        assert_eq!(
            dialed_address(&uncached).await,
            old,
            "with a TTL of 0, each connection starts a lookup"
        );
    }

    #[tokio::test]
    async fn a_failed_lookup_is_a_dns_failure_and_the_next_connection_retries_it() {
        let (_pods, [address]) = pods();
        let resolver = FakeResolver::with(&[]);
        let dialer = dialer(host(&[address], MINUTE, Duration::from_secs(1), resolver.clone()));
        for (answer, expected) in [
            (
                Err("Temporary failure in name resolution"),
                "pods.example: Temporary failure",
            ),
            (Ok(&[][..]), "pods.example: the host has no address"),
        ] {
            resolver.set(answer);
            let failure = dialer.dial().await.map(|_| ()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Dns);
            assert!(failure.detail.starts_with(expected), "{failure}");
        }
        assert_eq!(dialer.opened(), 0, "no connection was attempted");
        resolver.set(Ok(&[address]));
        assert_eq!(dialed_address(&dialer).await, address);
    }

    #[tokio::test]
    async fn connections_use_all_addresses_round_robin_for_any_order_of_answers() {
        let (_pods, mut order) = pods::<3>();
        let resolver = FakeResolver::with(&order);
        let dialer = dialer(host(&order, MINUTE, Duration::ZERO, resolver.clone()));
        let mut connections = BTreeMap::<_, u32>::new();
        for _ in 0..9 {
            order.rotate_right(1);
            resolver.set(Ok(&order));
            *connections.entry(dialed_address(&dialer).await).or_default() += 1;
        }
        assert!(
            connections.len() == 3 && connections.values().all(|count| *count == 3),
            "{connections:?}"
        );
    }

    #[tokio::test]
    async fn stripes_start_at_different_addresses() {
        let (_pods, addresses) = pods::<4>();
        let mut used = BTreeSet::new();
        for stripe in 0..4 {
            let dialer = dialer_of_stripe(stripe, Host::fixed(addresses.to_vec()));
            used.insert(dialed_address(&dialer).await);
        }
        assert_eq!(used.len(), 4, "each stripe has one connection: {used:?}");
    }

    #[tokio::test]
    async fn addresses_of_the_unreachable_ip_version_are_left_out() {
        let [ipv4, ipv6]: [SocketAddr; 2] = ["127.0.0.1:80", "[::1]:80"].map(|text| text.parse().unwrap());
        let resolver = FakeResolver::with(&[ipv6, ipv4]);
        let host = host(&[ipv4], MINUTE, Duration::ZERO, resolver.clone());
        assert_eq!(*host.addresses().await.unwrap(), [ipv4]);
        resolver.set(Ok(&[ipv6]));
        assert_eq!(
            *host.addresses().await.unwrap(),
            [ipv6],
            "the host has no other address"
        );
    }

    /// Reports the start of each lookup, and returns when the test allows it.
    #[derive(Debug)]
    struct BlockingResolver {
        starts: UnboundedSender<()>,
        may_return: Shared<mpsc::Receiver<()>>,
    }

    impl Resolver for BlockingResolver {
        fn addresses(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            self.starts.send(()).unwrap();
            self.may_return.lock().unwrap().recv().unwrap();
            Ok(vec![([127, 0, 0, 1], port).into()])
        }
    }

    /// Lets every task run until it blocks, and returns how many lookups started since the last call.
    async fn started_lookups(lookups: &mut UnboundedReceiver<()>) -> usize {
        for _ in 0..100 {
            yield_now().await;
        }
        std::iter::from_fn(|| lookups.try_recv().ok()).count()
    }

    #[tokio::test]
    async fn one_lookup_runs_at_a_time_and_waiting_requests_share_the_next_one() {
        let (starts, mut lookups) = unbounded_channel();
        let (allow_return, may_return) = mpsc::channel();
        let resolver = BlockingResolver {
            starts,
            may_return: Shared::new(may_return),
        };
        let host = host(
            &[([127, 0, 0, 1], 1).into()],
            MINUTE,
            Duration::ZERO,
            Arc::new(resolver),
        );
        let mut cancelled = JoinSet::new();
        let mut waiting = JoinSet::new();
        let request = |tasks: &mut JoinSet<_>| {
            let host = host.clone();
            tasks.spawn(async move { host.addresses().await.unwrap().len() });
        };
        request(&mut cancelled);
        let first = timeout(TIMEOUT, lookups.recv()).await;
        first.expect("the first lookup starts").unwrap();
        (0..20).for_each(|_| request(&mut waiting));
        assert_eq!(started_lookups(&mut lookups).await, 0, "the first lookup runs");
        cancelled.shutdown().await;
        assert_eq!(
            started_lookups(&mut lookups).await,
            0,
            "the first lookup still runs after its request is cancelled"
        );

        allow_return.send(()).unwrap();
        allow_return.send(()).unwrap();
        let answers = timeout(TIMEOUT, waiting.join_all()).await;
        assert_eq!(answers.expect("two lookups are enough for all requests"), [1; 20]);
        assert_eq!(
            started_lookups(&mut lookups).await,
            1,
            "one lookup for all waiting requests"
        );
    }
}
