//! The configuration files of the cluster: for kubeadm, for containerd, and for the pod network (CNI).

use crate::{cgroup, versions};

/// The address of the node, on a bridge without ports.
///
/// All addresses of the cluster are from the range for benchmarks (RFC 2544), which no real network uses.
pub const NODE_ADDRESS: &str = "198.18.0.1";
/// The addresses of the pods.
pub const POD_SUBNET: &str = "198.19.0.0/17";
/// The addresses of the Services.
pub const SERVICE_SUBNET: &str = "198.19.128.0/17";
/// The name of the node.
pub const NODE_NAME: &str = "testbed";

/// The configuration of kubeadm (kubeadm.k8s.io/v1beta4), the kubelet and kube-proxy.
#[must_use]
pub fn configuration() -> String {
    let fail_cgroup_v1 = cgroup::is_unified();
    format!(
        r#"apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {NODE_ADDRESS}, bindPort: 6443}}
nodeRegistration:
  name: {NODE_NAME}
  criSocket: unix:///run/containerd/containerd.sock
  taints: []  # the only node also runs the pods
  kubeletExtraArgs: [{{name: node-ip, value: {NODE_ADDRESS}}}]
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
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
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
    )
}

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
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        pause = versions::PAUSE,
    )
}

/// The CNI configuration of the pod network: a bridge, with addresses that the node assigns from [`POD_SUBNET`].
#[must_use]
pub fn pod_network() -> String {
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
      "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{POD_SUBNET}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#
    )
}
