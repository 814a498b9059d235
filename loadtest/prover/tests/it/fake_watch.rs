//! Lists and watches of the fake cluster, with resource versions, bookmarks, and the errors of the API server.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::channel::{Channel, SendError, Sender};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cluster_state::{ClusterState, WatchFault};

/// The time between two comparisons of the state with the last sent one.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A collection that clients watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Collection {
    Pods,
    Nodes,
    Claims,
    /// The events of a namespace.
    Events(&'static str),
}

/// The objects of a collection, by name.
type Objects = BTreeMap<String, Value>;

impl Collection {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/api/v1/namespaces/sample-app/pods" => Some(Self::Pods),
            "/api/v1/nodes" => Some(Self::Nodes),
            "/apis/karpenter.sh/v1/nodeclaims" => Some(Self::Claims),
            "/apis/events.k8s.io/v1/namespaces/sample-app/events" => Some(Self::Events("sample-app")),
            "/apis/events.k8s.io/v1/namespaces/default/events" => Some(Self::Events("default")),
            "/apis/events.k8s.io/v1/namespaces/kube-system/events" => Some(Self::Events("kube-system")),
            _ => None,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Pods => "Pod",
            Self::Nodes => "Node",
            Self::Claims => "NodeClaim",
            Self::Events(_) => "Event",
        }
    }

    fn objects(self, state: &ClusterState) -> Objects {
        let list = match (self, &state.nodes) {
            (Self::Pods, _) => state.pod_list(),
            (Self::Nodes, None) => state.constant_nodes(),
            (Self::Nodes, Some(nodes)) => nodes.node_list(),
            (Self::Claims, Some(nodes)) => nodes.claim_list(),
            (Self::Events(namespace), Some(nodes)) => nodes.events(namespace),
            // Without nodes that come and go, clients list the events, and there are no claims.
            (Self::Claims | Self::Events(_), None) => return Objects::new(),
        };
        let objects = list["items"].as_array().unwrap().iter();
        objects
            .map(|object| {
                (
                    object["metadata"]["name"].as_str().unwrap().to_owned(),
                    object.clone(),
                )
            })
            .collect()
    }
}

/// Every state that a client has seen, by collection and resource version.
#[derive(Debug, Default)]
pub(crate) struct Versions(Mutex<HashMap<Collection, Vec<Objects>>>);

impl Versions {
    /// Returns the version of these objects, which is a new one if they have changed.
    fn version_of(&self, collection: Collection, objects: &Objects) -> usize {
        let mut versions = self.0.lock().unwrap();
        let versions = versions.entry(collection).or_default();
        if versions.last() != Some(objects) {
            versions.push(objects.clone());
        }
        versions.len()
    }

    fn objects_of(&self, collection: Collection, version: usize) -> Objects {
        self.0.lock().unwrap()[&collection][version - 1].clone()
    }

    /// Adds the resource version to a list.
    pub(crate) fn add_version(&self, collection: Collection, state: &ClusterState, list: &mut Value) {
        let version = self.version_of(collection, &collection.objects(state));
        list["metadata"]["resourceVersion"] = version.to_string().into();
    }
}

/// A watch request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchRequest {
    collection: Collection,
    version: usize,
    timeout: Duration,
}

impl WatchRequest {
    /// Returns `None` if the request is no watch.
    pub(crate) fn of(path: &str, query: &str) -> Option<Self> {
        let query: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        (query.get("watch")? == "true").then(|| Self {
            collection: Collection::of(path).unwrap(),
            version: query["resourceVersion"].parse().unwrap(),
            timeout: Duration::from_secs(query["timeoutSeconds"].parse().unwrap()),
        })
    }

    /// Begins the response: every change since the version of the request, until the timeout.
    pub(crate) async fn respond(
        self,
        state: Arc<Mutex<ClusterState>>,
        versions: Arc<Versions>,
    ) -> Channel<Bytes, Infallible> {
        let fault = {
            let mut state = state.lock().unwrap();
            state.watches += 1;
            let fault = state.watch_fault;
            if fault == WatchFault::Expired {
                state.watch_fault = WatchFault::None;
            }
            fault
        };
        let (events, body) = Channel::new(16);
        match fault {
            WatchFault::Hang => future::pending().await,
            WatchFault::Expired => drop(tokio::spawn(send_expired(events))),
            WatchFault::None => drop(tokio::spawn(self.send_events(state, versions, events))),
        }
        body
    }

    async fn send_events(
        self,
        state: Arc<Mutex<ClusterState>>,
        versions: Arc<Versions>,
        mut events: Sender<Bytes, Infallible>,
    ) {
        let Self {
            collection, timeout, ..
        } = self;
        let end = Instant::now() + timeout;
        let mut sent = versions.objects_of(collection, self.version);
        let version = loop {
            let objects = {
                let state = state.lock().unwrap();
                if state.api_down {
                    return;
                }
                (state.watch_fault != WatchFault::Hang).then(|| collection.objects(&state))
            };
            if let Some(objects) = objects {
                let version = versions.version_of(collection, &objects);
                for event in changes(&sent, &objects, version) {
                    if send(&mut events, &event).await.is_err() {
                        return;
                    }
                }
                sent = objects;
                if Instant::now() > end {
                    break version;
                }
            }
            sleep(POLL_INTERVAL).await;
        };
        let bookmark = json!({"type": "BOOKMARK", "object": {"kind": collection.kind(), "apiVersion": "v1",
            "metadata": {"resourceVersion": version.to_string()}}});
        drop(send(&mut events, &bookmark).await);
    }
}

/// Returns the events that lead from one state to the next.
fn changes(before: &Objects, after: &Objects, version: usize) -> Vec<Value> {
    let event = |kind: &str, object: &Value| {
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        json!({"type": kind, "object": object})
    };
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    let gone = gone.map(|(_, object)| event("DELETED", object));
    let changed = after.iter().filter_map(|(name, object)| match before.get(name) {
        None => Some(event("ADDED", object)),
        Some(old) if old != object => Some(event("MODIFIED", object)),
        Some(_) => None,
    });
    gone.chain(changed).collect()
}

async fn send_expired(mut events: Sender<Bytes, Infallible>) {
    let error = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": "too old resource version: 1 (2)", "reason": "Expired", "code": 410}});
    drop(send(&mut events, &error).await);
}

async fn send(events: &mut Sender<Bytes, Infallible>, event: &Value) -> Result<(), SendError> {
    let line = format!("{event}\n");
    events.send_data(line.into()).await
}
