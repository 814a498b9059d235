//! Watches objects: keeps a copy of all objects that a selector matches. The API server sends the changes, so that reading the
//! copy needs no request.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    mem,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use http::Request;
use kube::{
    Api, Client, Resource, ResourceExt,
    client::Body,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::service_fn;

use super::read::{READ_TIMEOUT, ReadError, ReadResult, describe, read};

/// The duration of one watch request, in seconds. The API server ends the request, and the next one continues where it
/// ended. A watch without changes is silent, so only the response to the next request shows that it still works.
const WATCH_SECONDS: u32 = 2;

/// The maximum time without a response to a watch request. After it, the copy may be out of date.
const MAX_SILENCE: Duration = READ_TIMEOUT.saturating_add(Duration::from_secs(WATCH_SECONDS as u64));

/// The time between an error and the next request.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A copy of the objects that a selector matches, as plain values. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch<V> {
    mirror: watch::Receiver<Mirror<V>>,
    _task: JoinSet<()>,
}

impl<V: Debug + Send + Sync + 'static> Watch<V> {
    /// Starts to watch the objects that match `labels`. An object without a `view` is left out.
    pub(super) fn start<K>(
        client: &Client,
        api: impl FnOnce(Client) -> Api<K>,
        labels: Option<&str>,
        view: fn(K) -> Option<V>,
    ) -> Self
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (sender, mirror) = watch::channel(Mirror::default());
        let writer = Writer {
            api: api(listened_client(client, sender.clone())),
            config: watcher::Config {
                label_selector: labels.map(str::to_owned),
                ..watcher::Config::default().timeout(WATCH_SECONDS)
            },
            view,
            mirror: sender,
        };
        let mut task = JoinSet::new();
        task.spawn(writer.run());
        Self { mirror, _task: task }
    }

    /// Returns the objects, ordered by name. The first call waits for the first list.
    ///
    /// # Errors
    /// Returns an error if the objects cannot be listed or watched now. The copy may then be out of date.
    pub async fn objects(&self) -> ReadResult<Vec<Arc<V>>> {
        let mut mirror = self.mirror.clone();
        let found = timeout(READ_TIMEOUT, mirror.wait_for(Mirror::has_answer)).await;
        match found {
            Ok(Ok(mirror)) => mirror.objects(),
            Ok(Err(_)) => Err(ReadError("the watch has stopped".to_owned())),
            Err(_) => Err(no_response(READ_TIMEOUT)),
        }
    }
}

fn no_response(since: Duration) -> ReadError {
    ReadError(format!(
        "no response to the watch for {:.0} s",
        since.as_secs_f64()
    ))
}

/// The copy, and whether it is up to date.
#[derive(Debug)]
struct Mirror<V> {
    /// The objects by name; `None` before the first list.
    objects: Option<BTreeMap<String, Arc<V>>>,
    /// The time of the last response.
    heard_at: Instant,
    /// The error of the last request.
    problem: Option<String>,
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Self {
            objects: None,
            heard_at: Instant::now(),
            problem: None,
        }
    }
}

impl<V> Mirror<V> {
    fn has_answer(&self) -> bool {
        self.objects.is_some() || self.problem.is_some()
    }

    fn heard(&mut self) {
        (self.heard_at, self.problem) = (Instant::now(), None);
    }

    fn is_silent(&self) -> bool {
        self.heard_at.elapsed() > MAX_SILENCE
    }

    fn objects(&self) -> ReadResult<Vec<Arc<V>>> {
        if let Some(problem) = &self.problem {
            return Err(ReadError(problem.clone()));
        }
        if self.is_silent() {
            return Err(no_response(self.heard_at.elapsed()));
        }
        Ok(self.objects.iter().flat_map(BTreeMap::values).cloned().collect())
    }
}

/// Returns a client that records the responses to watch requests, because the watcher does not report them. A request
/// fails if its response does not begin in time.
fn listened_client<V: Send + Sync + 'static>(client: &Client, mirror: watch::Sender<Mirror<V>>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (client, mirror) = (client.clone(), mirror.clone());
        async move {
            let is_watch = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch=true"));
            let response = read(client.send(request)).await?;
            if is_watch && response.status().is_success() {
                mirror.send_modify(Mirror::heard);
            }
            Ok::<_, ReadError>(response)
        }
    });
    Client::new(service, namespace)
}

/// Updates the copy.
struct Writer<K, V> {
    api: Api<K>,
    config: watcher::Config,
    view: fn(K) -> Option<V>,
    mirror: watch::Sender<Mirror<V>>,
}

impl<K, V> Writer<K, V>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Watches until the task is aborted. Lists the objects again if the watch is silent for too long.
    async fn run(self) {
        loop {
            let mut events = pin!(watcher(self.api.clone(), self.config.clone()));
            let mut listed = BTreeMap::new();
            loop {
                match timeout(MAX_SILENCE, events.next()).await {
                    Ok(Some(Ok(event))) => self.apply(event, &mut listed),
                    // The version is too old to continue from it: the watcher lists the objects again.
                    Ok(Some(Err(watcher::Error::WatchError(status)))) if status.code == 410 => {}
                    Ok(Some(Err(error))) => {
                        let problem = Some(describe_failure(&error));
                        self.mirror.send_modify(|mirror| mirror.problem = problem);
                        sleep(RETRY_INTERVAL).await;
                    }
                    Ok(None) => break,
                    Err(_) if self.mirror.borrow().is_silent() => break,
                    Err(_) => {}
                }
            }
        }
    }

    /// Applies an event. Collects the objects of a list in `listed`.
    fn apply(&self, event: Event<K>, listed: &mut BTreeMap<String, Arc<V>>) {
        let entry = |object: K| (object.name_any(), (self.view)(object).map(Arc::new));
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                let (name, view) = entry(object);
                listed.extend(view.map(|view| (name, view)));
            }
            Event::InitDone => self.mirror.send_modify(|mirror| {
                mirror.objects = Some(mem::take(listed));
                mirror.heard();
            }),
            Event::Apply(object) => {
                let (name, view) = entry(object);
                self.change(|objects| match view {
                    Some(view) => objects.insert(name, view),
                    None => objects.remove(&name),
                });
            }
            Event::Delete(object) => self.change(|objects| objects.remove(&object.name_any())),
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<V>>) -> Option<Arc<V>>) {
        self.mirror.send_modify(|mirror| {
            drop(mirror.objects.as_mut().map(change));
        });
    }
}

fn describe_failure(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => describe(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}
