//! The addresses of one host: those found before the load, or looked up again once they are older than they may be.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, task::spawn_blocking};

use super::failure::Failure;

/// What knows the addresses of names.
pub(crate) trait Resolver: fmt::Debug + Send + Sync {
    /// Every address of a name. Blocks its thread.
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// This machine's: its hosts file, DNS, and whatever else it is told to ask.
#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// One host, the same for all stripes.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Those that answered before the load.
    found: Arc<[SocketAddr]>,
    /// How they are looked up again, where they are.
    name: Option<Arc<Name>>,
}

#[derive(Debug)]
struct Name {
    host: String,
    port: u16,
    /// How old an answer may be.
    ttl: Duration,
    resolver: Arc<dyn Resolver>,
    /// The last one. Locked while the next one is looked up.
    answer: Arc<Mutex<CachedLookup>>,
}

#[derive(Debug)]
struct CachedLookup {
    /// When the lookup began: what it says may be as old.
    began: Instant,
    addresses: Result<Arc<[SocketAddr]>, Failure>,
}

impl CachedLookup {
    /// Whether it does for a connection that was wanted at `wanted`. A failure only does for those that waited for it.
    fn does(&self, wanted: Instant, ttl: Duration) -> bool {
        let lifetime = if self.addresses.is_ok() {
            ttl
        } else {
            Duration::ZERO
        };
        wanted.saturating_duration_since(self.began) <= lifetime
    }
}

impl Host {
    /// A host that stays at these addresses.
    pub(crate) fn fixed(found: Vec<SocketAddr>) -> Self {
        Self {
            found: found.into(),
            name: None,
        }
    }

    /// A host that was at these addresses when it was looked up at `began`, and is looked up again when that is longer ago
    /// than `ttl`.
    pub(crate) fn named(
        (host, port): (&str, u16),
        (found, began): (Vec<SocketAddr>, Instant),
        ttl: Duration,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        let found: Arc<[SocketAddr]> = found.into();
        let answer = CachedLookup {
            began,
            addresses: Ok(Arc::clone(&found)),
        };
        Self {
            found,
            name: Some(Arc::new(Name {
                host: host.to_owned(),
                port,
                ttl,
                resolver,
                answer: Arc::new(Mutex::new(answer)),
            })),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_looked_up_again(&self) -> bool {
        self.name.is_some()
    }

    /// The addresses for a connection that is opened now; at least one.
    ///
    /// There is one lookup at a time, which everybody shares who came before it began. It goes on when the request that
    /// wanted it has timed out, so that lookups that hang do not pile up.
    pub(crate) async fn addresses(&self) -> Result<Arc<[SocketAddr]>, Failure> {
        let Some(name) = &self.name else {
            return Ok(Arc::clone(&self.found));
        };
        let wanted = Instant::now();
        let mut answer = Arc::clone(&name.answer).lock_owned().await;
        if answer.does(wanted, name.ttl) {
            return answer.addresses.clone();
        }
        let (name, found) = (Arc::clone(name), Arc::clone(&self.found));
        let lookup = spawn_blocking(move || {
            answer.began = Instant::now();
            answer.addresses = name.look_up(&found);
            answer.addresses.clone()
        });
        lookup.await.expect("a lookup does not panic")
    }
}

impl Name {
    fn look_up(&self, found: &[SocketAddr]) -> Result<Arc<[SocketAddr]>, Failure> {
        let failure = |error| Failure::lookup(&self.host, &error);
        let mut addresses = self.resolver.addresses(&self.host, self.port).map_err(failure)?;
        // Of a host that answers at one version of IP only, as `localhost` often does, that version.
        let is_reachable = |address: &SocketAddr| found.iter().any(|one| one.is_ipv4() == address.is_ipv4());
        if addresses.iter().any(is_reachable) {
            addresses.retain(is_reachable);
        }
        // DNS servers change the order from answer to answer; with it, taking turns could take the same one each time.
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(failure(io::Error::other("it has no address")));
        }
        Ok(addresses.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
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
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Says what the test has it say.
    #[derive(Debug)]
    struct MadeUp(Shared<Result<Vec<SocketAddr>, &'static str>>);

    impl MadeUp {
        fn saying(addresses: &[SocketAddr]) -> Arc<Self> {
            Arc::new(Self(Shared::new(Ok(addresses.to_vec()))))
        }

        fn says(&self, answer: Result<&[SocketAddr], &'static str>) {
            *self.0.lock().unwrap() = answer.map(<[_]>::to_vec);
        }
    }

    impl Resolver for MadeUp {
        fn addresses(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            assert_eq!(host, "pods.example");
            self.0.lock().unwrap().clone().map_err(io::Error::other)
        }
    }

    fn host(found: &[SocketAddr], age: Duration, ttl: Duration, resolver: Arc<dyn Resolver>) -> Host {
        let began = Instant::now().checked_sub(age).unwrap();
        Host::named(("pods.example", 80), (found.to_vec(), began), ttl, resolver)
    }

    fn dialer(host: Host) -> Dialer {
        let origin = Origin {
            is_tls: false,
            host: "pods.example".to_owned(),
            port: 80,
        };
        Dialer::new(Network::default(), origin, host, None, 0)
    }

    /// Where the next connection goes.
    async fn reached(dialer: &Dialer) -> SocketAddr {
        match dialer.dial().await.unwrap().stream {
            Stream::Plain(stream) => stream.peer_addr().unwrap(),
            Stream::Tls(_) => panic!("there is no TLS here"),
        }
    }

    fn pods<const COUNT: usize>() -> ([TcpListener; COUNT], [SocketAddr; COUNT]) {
        let pods = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = std::array::from_fn(|pod| pods[pod].local_addr().unwrap());
        (pods, addresses)
    }

    #[tokio::test]
    async fn connections_go_to_new_addresses_once_the_answer_is_too_old_and_not_before() {
        let (_pods, [old, new, newer]) = pods();
        let resolver = MadeUp::saying(&[new]);
        let age = Duration::from_secs(2);
        let young = dialer(host(&[old], age, MINUTE, resolver.clone()));
        assert_eq!((reached(&young).await, reached(&young).await), (old, old));

        let aged = dialer(host(&[old], age, Duration::from_secs(1), resolver.clone()));
        assert_eq!(reached(&aged).await, new);
        let fresh = dialer(host(&[old], MINUTE, Duration::from_secs(59), resolver.clone()));
        assert_eq!(reached(&fresh).await, new);
        resolver.says(Ok(&[newer]));
        assert_eq!(reached(&fresh).await, new, "this answer is new in its turn");

        let each = dialer(host(&[old], Duration::ZERO, Duration::ZERO, resolver.clone()));
        assert_eq!(reached(&each).await, newer);
        resolver.says(Ok(&[old]));
        assert_eq!(reached(&each).await, old, "at 0 each connection looks anew");
    }

    #[tokio::test]
    async fn a_lookup_that_fails_is_a_failure_of_its_own_kind_and_the_next_connection_tries_again() {
        let (_pods, [address]) = pods();
        let resolver = MadeUp::saying(&[]);
        let dialer = dialer(host(
            &[address],
            MINUTE,
            Duration::from_secs(1),
            resolver.clone(),
        ));
        for (answer, says) in [
            (
                Err("Temporary failure in name resolution"),
                "pods.example: Temporary failure",
            ),
            (Ok(&[][..]), "pods.example: it has no address"),
        ] {
            resolver.says(answer);
            let failure = dialer.dial().await.map(|_| ()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Dns);
            assert!(failure.detail.starts_with(says), "{failure}");
        }
        assert_eq!(dialer.opened(), 0, "no connection was tried");
        resolver.says(Ok(&[address]));
        assert_eq!(reached(&dialer).await, address);
    }

    #[tokio::test]
    async fn all_addresses_are_used_in_turn_whatever_the_order_of_the_answers() {
        let (_pods, mut order) = pods::<3>();
        let resolver = MadeUp::saying(&order);
        let dialer = dialer(host(&order, MINUTE, Duration::ZERO, resolver.clone()));
        let mut connections = BTreeMap::<_, u32>::new();
        for _ in 0..9 {
            order.rotate_right(1);
            resolver.says(Ok(&order));
            *connections.entry(reached(&dialer).await).or_default() += 1;
        }
        assert!(
            connections.len() == 3 && connections.values().all(|count| *count == 3),
            "{connections:?}"
        );
    }

    #[tokio::test]
    async fn the_version_of_ip_at_which_nobody_answered_is_left_out() {
        let [four, six]: [SocketAddr; 2] = ["127.0.0.1:80", "[::1]:80"].map(|text| text.parse().unwrap());
        let resolver = MadeUp::saying(&[six, four]);
        let host = host(&[four], MINUTE, Duration::ZERO, resolver.clone());
        assert_eq!(*host.addresses().await.unwrap(), [four]);
        resolver.says(Ok(&[six]));
        assert_eq!(*host.addresses().await.unwrap(), [six], "where there is no other");
    }

    /// Tells when a lookup has begun, and answers when it is told to.
    #[derive(Debug)]
    struct Slow {
        begun: UnboundedSender<()>,
        may_end: Shared<mpsc::Receiver<()>>,
    }

    impl Resolver for Slow {
        fn addresses(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            self.begun.send(()).unwrap();
            self.may_end.lock().unwrap().recv().unwrap();
            Ok(vec![([127, 0, 0, 1], port).into()])
        }
    }

    /// Lets every task get as far as it can, and says how many lookups have begun meanwhile.
    async fn begun(lookups: &mut UnboundedReceiver<()>) -> usize {
        for _ in 0..100 {
            yield_now().await;
        }
        std::iter::from_fn(|| lookups.try_recv().ok()).count()
    }

    #[tokio::test]
    async fn there_is_one_lookup_at_a_time_and_those_who_wait_share_the_next() {
        let (begins, mut lookups) = unbounded_channel();
        let (end, may_end) = mpsc::channel();
        let slow = Slow {
            begun: begins,
            may_end: Shared::new(may_end),
        };
        let host = host(
            &[([127, 0, 0, 1], 1).into()],
            MINUTE,
            Duration::ZERO,
            Arc::new(slow),
        );
        let mut impatient = JoinSet::new();
        let mut waiting = JoinSet::new();
        let ask = |tasks: &mut JoinSet<_>| {
            let host = host.clone();
            tasks.spawn(async move { host.addresses().await.unwrap().len() });
        };
        ask(&mut impatient);
        let first = timeout(PATIENCE, lookups.recv()).await;
        first.expect("it looks the name up").unwrap();
        (0..20).for_each(|_| ask(&mut waiting));
        assert_eq!(begun(&mut lookups).await, 0, "one is under way");
        impatient.shutdown().await;
        assert_eq!(
            begun(&mut lookups).await,
            0,
            "it still is, though nobody wants it"
        );

        end.send(()).unwrap();
        end.send(()).unwrap();
        let answers = timeout(PATIENCE, waiting.join_all()).await;
        assert_eq!(answers.expect("two lookups are enough for all"), [1; 20]);
        assert_eq!(begun(&mut lookups).await, 1, "one for all that came before it");
    }
}
