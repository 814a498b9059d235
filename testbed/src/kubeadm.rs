//! The configuration files of the nodes: for kubeadm, for containerd, and for the pod network (CNI).

use std::ops::RangeInclusive;

use anyhow::Result;
use serde_json::{Value, json};

use crate::nodes::{self, EVICTION_MEMORY_MIB, InstanceType, Machine, NewNode};
use crate::{cgroup, versions};

/// The address of the first node, on a bridge.
///
/// All addresses of the cluster are from the range for benchmarks (RFC 2544), which no real network uses.
pub const NODE_ADDRESS: &str = "198.18.0.1";
/// The number of the first node: the last part of its address.
pub const NODE_NUMBER: u8 = 1;
/// The numbers of added nodes. The network 198.18.0.0/24 has their addresses, and [`POD_SUBNET`] the addresses of their pods.
pub const ADDED_NODES: RangeInclusive<u8> = 10..=126;
/// The addresses of the pods. Each node has a network of 256 of them: [`pod_subnet`].
pub const POD_SUBNET: &str = "198.19.0.0/17";
/// The addresses of the Services.
pub const SERVICE_SUBNET: &str = "198.19.128.0/17";
/// The name of the first node.
pub const NODE_NAME: &str = "testbed";
/// `node.kubernetes.io/instance-type` of the first node, which by default offers the whole machine.
pub const NODE_TYPE: &str = "machine";
/// The bridge of the first node, to which the links of all other nodes lead.
pub const BRIDGE: &str = "node0";
/// The link of an added node to the bridge, in the namespace of the node.
pub const NODE_LINK: &str = "eth0";
/// The port of the node manager's registry on the address of the first node.
pub const REGISTRY_PORT: u16 = 5000;

/// The address of a node.
#[must_use]
pub fn node_address(number: u8) -> String {
    format!("198.18.0.{number}")
}

/// The addresses of the pods of a node. They follow from the number of the node, so no controller assigns them.
#[must_use]
pub fn pod_subnet(number: u8) -> String {
    format!("198.19.{number}.0/24")
}

/// The flags of a kubelet that differ between the nodes.
fn kubelet_flags(
    address: &str,
    zone: &str,
    name: &str,
    labels: &[(String, String)],
) -> Vec<(String, String)> {
    let labels: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    [
        ("node-ip", address.to_owned()),
        ("node-labels", labels.join(",")),
        ("provider-id", nodes::provider_id(zone, name)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn to_arguments(flags: &[(String, String)]) -> Value {
    flags
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
}

/// The authority of the API server's certificate. `kubeadm init` creates it, and each node has a copy.
pub(crate) const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";

/// The file in /etc/kubernetes in which kubeadm finds the API server: [`discovery`].
pub(crate) const DISCOVERY: &str = "discovery.json";

/// A kubeconfig with the API server and its authority, without credentials.
///
/// With a token instead, kubeadm would wait until a controller has signed the same data with the token: up to 10 s in a new cluster.
pub(crate) fn discovery() -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        // A cluster without a name needs no context and no user, as in the ConfigMap cluster-info of kubeadm.
        "clusters": [{ "name": "", "cluster": {
            "server": format!("https://{NODE_ADDRESS}:6443"),
            "certificate-authority": AUTHORITY,
        }}],
    })
    .to_string()
}

/// The `JoinConfiguration` of an added node. Its kubelet asks for a certificate with `token`.
pub(crate) fn join(node: &NewNode, instance_type: InstanceType, number: u8, token: &str) -> Result<String> {
    let mut labels = node.labels.clone();
    labels.extend(nodes::labels(&node.zone, instance_type.name));
    let labels: Vec<_> = labels.into_iter().collect();
    let mut flags = kubelet_flags(&node_address(number), &node.zone, &node.name, &labels);
    flags.extend(
        [
            ("cgroup-root", format!("/{}", cgroup::node_name(&node.name))),
            ("system-reserved", instance_type.reserved(Machine::read()?)?),
            ("max-pods", instance_type.pods.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let configuration = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "file": { "kubeConfigPath": format!("/etc/kubernetes/{DISCOVERY}") },
            "tlsBootstrapToken": token,
        },
        "nodeRegistration": {
            "name": node.name,
            "criSocket": "unix:///run/containerd/containerd.sock",
            "taints": node.taints,
            "kubeletExtraArgs": to_arguments(&flags),
        },
    });
    Ok(configuration.to_string())
}

/// The configuration of kubeadm (kubeadm.k8s.io/v1beta4), the kubelet and kube-proxy.
///
/// `cpu_millis` is the CPU time that the first node offers to pods, in thousandths of a CPU: by default the whole machine.
///
/// # Errors
/// When the capacity of the machine cannot be read, or is less than `cpu_millis`.
pub fn configuration(cpu_millis: Option<u64>) -> Result<String> {
    let fail_cgroup_v1 = cgroup::is_unified();
    let zone = nodes::ZONES[0];
    let labels: Vec<_> = nodes::labels(zone, NODE_TYPE).into_iter().collect();
    let mut flags = kubelet_flags(NODE_ADDRESS, zone, NODE_NAME, &labels);
    if let Some(cpu_millis) = cpu_millis {
        let reserved = nodes::reserved_cpu(cpu_millis, Machine::read()?)?;
        flags.push(("system-reserved".to_owned(), reserved));
    }
    let kubelet_arguments = to_arguments(&flags);
    Ok(format!(
        r#"apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {NODE_ADDRESS}, bindPort: 6443}}
nodeRegistration:
  name: {NODE_NAME}
  criSocket: unix:///run/containerd/containerd.sock
  taints: []  # the first node also runs the pods
  kubeletExtraArgs: {kubelet_arguments}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {kubernetes}
networking: {{podSubnet: {POD_SUBNET}, serviceSubnet: {SERVICE_SUBNET}}}
apiServer:
  certSANs: [127.0.0.1, localhost, {NODE_ADDRESS}]
controllerManager:
  extraArgs:  # the default is below /usr, which the testbed does not change
  - {{name: flex-volume-plugin-dir, value: /var/lib/kubelet/volume-plugins}}
  # The addresses of the pods of a node follow from the address of the node.
  - {{name: allocate-node-cidrs, value: "false"}}
etcd:
  local:
    imageTag: {etcd}
    extraArgs:  # no data must survive a power failure: each start creates a new cluster
    - {{name: unsafe-no-fsync, value: "true"}}
dns: {{imageTag: {coredns}}}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: {fail_cgroup_v1}
failSwapOn: false
# No name server listens at the address in this file, because the cluster has no uplink. The address must not be loopback:
# the loop plug-in would stop CoreDNS.
resolvConf: /etc/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
# The node cannot pull an image again after garbage collection.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
# An imported image may have been pulled from the registry before, under another name. The default policy would pull it again, to check
# the credentials of the pod. No registry of the testbed has any.
imagePullCredentialsVerificationPolicy: NeverVerify
evictionHard: {{memory.available: {EVICTION_MEMORY_MIB}Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {POD_SUBNET}
oomScoreAdj: 0
conntrack: {{maxPerCore: 0}}
"#,
        kubernetes = versions::kubernetes(),
        etcd = versions::etcd(),
        coredns = versions::coredns(),
        cgroup = cgroup::name(),
    ))
}

/// The folder with the configuration of containerd for registries: a folder for each, and on added nodes one for all others.
pub(crate) const REGISTRIES: &str = "/etc/kubernetes/registry";

/// The configuration of containerd, in version 2 of the format, which containerd 1.6 to 2 read.
#[must_use]
pub fn containerd() -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:{pause}"
  # Without CAP_SYS_RESOURCE, runc fails if it must set a lower OOM score than that of its parent.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{REGISTRIES}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        pause = versions::PAUSE,
    )
}

/// The configuration of containerd that sends pulls to a registry on this port of the first node (containerd `docs/hosts.md`).
///
/// containerd 1.6 ignores a file that has only `server`.
pub(crate) fn registry_mirror(port: u16) -> String {
    format!("[host.\"http://{NODE_ADDRESS}:{port}\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
}

/// The CNI configuration of the pod network of a node: a bridge, with addresses from [`pod_subnet`].
#[must_use]
pub fn pod_network(number: u8) -> String {
    let subnet = pod_subnet(number);
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
      "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{subnet}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#
    )
}
