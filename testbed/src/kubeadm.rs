//! The files that make a cluster of these components: kubeadm's configuration, containerd's, the pod network's.

use crate::{cgroup, versions};

/// The node's address, on a bridge without ports. All addresses come from the benchmarking range (RFC 2544),
/// which no real network uses.
pub const NODE_ADDRESS: &str = "198.18.0.1";
/// The pods' addresses.
pub const POD_SUBNET: &str = "198.19.0.0/17";
/// The Services' addresses.
pub const SERVICE_SUBNET: &str = "198.19.128.0/17";
/// The node's name.
pub const NODE_NAME: &str = "testbed";

/// kubeadm's configuration (kubeadm.k8s.io/v1beta4), with the kubelet's and kube-proxy's.
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
  taints: []  # the only node runs the pods, too
  kubeletExtraArgs: [{{name: node-ip, value: {NODE_ADDRESS}}}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {kubernetes}
networking: {{podSubnet: {POD_SUBNET}, serviceSubnet: {SERVICE_SUBNET}}}
apiServer:
  certSANs: [127.0.0.1, localhost, {NODE_ADDRESS}]
controllerManager:
  extraArgs:  # the default lies below /usr, which stays as it is
  - {{name: flex-volume-plugin-dir, value: /var/lib/kubelet/volume-plugins}}
etcd:
  local:
    imageTag: {etcd}
    extraArgs:  # a cluster that is made anew each time has nothing to lose in a power cut
    - {{name: unsafe-no-fsync, value: "true"}}
dns: {{imageTag: {coredns}}}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: {fail_cgroup_v1}
failSwapOn: false
# A name server that nobody answers at: the cluster has no uplink. A loopback address would stop CoreDNS's loop plug-in.
resolvConf: /etc/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
# A collected image cannot be pulled again.
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

/// containerd's configuration (version 2, which containerd 1.6 to 2 read).
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
  # Where the machine grants no CAP_SYS_RESOURCE, a lower score than our own ends runc.
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

/// The pod network: a bridge, addresses handed out on this node.
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
