//! Pods of every node reach each other, the Services and the port of every node, and their images come from the first node.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use e2e::{apply, deploy, eventually, image, kubectl, request, with_diagnostics};
use nix::sched::{CloneFlags, setns};
use testbed::archive;

use super::{NODES, address, items, start};
use crate::processes::network_of_pod;

/// The port of the Service `everywhere` on each node.
const NODE_PORT: u16 = 30_081;

/// `app_a` on every node, with a Service.
fn everywhere() -> Result<String> {
    let image = archive::reference(&image("app-a"))?;
    Ok(format!(
        r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: everywhere, namespace: default}}
spec:
  selector: {{matchLabels: {{name: everywhere}}}}
  template:
    metadata: {{labels: {{name: everywhere}}}}
    spec:
      containers:
      - name: app-a
        image: {image}
        imagePullPolicy: IfNotPresent
        env:
        - {{name: LISTEN, value: "0.0.0.0:5000"}}
        - {{name: ADMIN_LISTEN, value: "0.0.0.0:9000"}}
        - {{name: APP_B_URL, value: "http://app-b.sample-app:5001"}}
        - name: POD_NAME
          valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}
        readinessProbe: {{httpGet: {{path: /readyz, port: 9000}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: everywhere, namespace: default}}
spec:
  type: NodePort
  selector: {{name: everywhere}}
  ports: [{{port: 80, targetPort: 5000, nodePort: {NODE_PORT}}}]
"#
    ))
}

struct Pod {
    name: String,
    node: String,
    address: Ipv4Addr,
    /// The network namespace.
    network: File,
}

fn pods() -> Result<Vec<Pod>> {
    let pods = items(&["pods", "--namespace=default", "--selector=name=everywhere"])?;
    let pods = pods.iter().map(|pod| {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let uid = text(&pod["metadata"]["uid"]).context("no UID")?;
        Ok(Pod {
            name: text(&pod["metadata"]["name"]).context("no name")?,
            node: text(&pod["spec"]["nodeName"]).context("not scheduled")?,
            address: text(&pod["status"]["podIP"]).context("no address")?.parse()?,
            network: network_of_pod(&uid)?,
        })
    });
    pods.collect()
}

impl Pod {
    /// Sends a request from the network of the pod, and returns the response.
    fn request(&self, to: (Ipv4Addr, u16), method: &'static str, path: &'static str) -> Result<String> {
        let network = self.network.try_clone()?;
        let from = format!("from {} on {}", self.name, self.node);
        // Only this thread enters the network namespace.
        let thread = thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET)?;
            request(
                SocketAddr::from(to),
                method,
                path,
                &[("Authorization", "mytoken")],
            )
        });
        let response = thread.join().map_err(|_| anyhow!("the request panicked"))?;
        let response = response.with_context(|| from.clone())?;
        ensure!(
            response.starts_with("HTTP/1.1 200"),
            "{from} to {to:?}{path}: {response}"
        );
        Ok(response)
    }
}

#[test]
fn pods_of_every_node_reach_each_other_the_services_and_the_port_of_each_node() {
    with_diagnostics(|| {
        start()?;
        deploy()?;
        apply(&everywhere()?)?;
        kubectl(&[
            "--namespace=default",
            "rollout",
            "status",
            "daemonset/everywhere",
            "--timeout=50s",
        ])?;
        let pods = pods()?;
        let mut places: Vec<_> = pods.iter().map(|pod| pod.node.as_str()).collect();
        places.sort_unstable();
        let mut expected = NODES;
        expected.sort_unstable();
        ensure!(places == expected, "the pods are on {places:?}");
        let nodes = items(&["nodes"])?;
        let nodes = nodes.iter().map(address).collect::<Result<Vec<_>>>()?;
        let service = kubectl(&[
            "--namespace=default",
            "get",
            "service",
            "everywhere",
            "-o",
            "jsonpath={.spec.clusterIP}",
        ])?;
        let service: Ipv4Addr = service.parse()?;
        for from in &pods {
            for to in &pods {
                let response = from.request((to.address, 5000), "GET", "/hello")?;
                ensure!(
                    response.contains(&to.name),
                    "another pod answered for {}: {response}",
                    to.name
                );
            }
            // The pod resolves the name of app_b, and calls it through its Service.
            eventually("the name of app_b resolves", || {
                from.request((from.address, 5000), "PUT", "/jobs")
            })?;
            // The kube-proxy of the node may not have the endpoints of a new Service yet.
            eventually("the Service answers", || {
                from.request((service, 80), "GET", "/hello")
            })?;
            for node in &nodes {
                eventually("the port of the node answers", || {
                    from.request((*node, NODE_PORT), "GET", "/hello")
                })?;
            }
        }
        added_nodes_pulled_the_image()?;
        kubectl(&[
            "--namespace=default",
            "delete",
            "service/everywhere",
            "daemonset/everywhere",
        ])
        .map(drop)
    });
}

/// The kubelet reports a pull that succeeded, or that the image is present.
fn added_nodes_pulled_the_image() -> Result<()> {
    let events = items(&["events", "--all-namespaces", "--field-selector=reason=Pulled"])?;
    for node in &NODES[1..] {
        let pulled = events.iter().any(|event| {
            event["source"]["host"] == *node
                && event["message"].as_str().is_some_and(|message| {
                    message.contains("Successfully pulled") && message.contains("app-a")
                })
        });
        ensure!(pulled, "{node} has not pulled the image of app_a: {events:?}");
    }
    Ok(())
}
