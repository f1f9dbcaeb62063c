"""Contents of the configuration files of one test cluster. Pure: a layout in, texts out.

The values that look odd are explained where they stand; docs/test-bed.md has the whole story.
"""

import json
from typing import Any

from bed.layout import DOMAIN, NODE, PAUSE_IMAGE, Layout

CNI_BINARIES = "/usr/lib/cni"  # where Debian's containernetworking-plugins puts them

# Service accounts of the controllers, nodes and the control plane: theirs is not our RBAC.
_NOT_AUDITED_GROUPS = ["system:nodes", "system:serviceaccounts:kube-system"]
_NOT_AUDITED_USERS = [
    "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler",
    "system:kube-proxy", "bed-dns", "bed-kwok",
]  # fmt: skip


def control_plane(layout: Layout) -> dict[str, str]:
    return {"audit-policy.json": json.dumps(audit_policy())}


def node(layout: Layout, runc: str) -> dict[str, str]:
    """File name -> content; `runc` is the path of the runtime's binary."""
    return {
        "cni/10-bed.conflist": json.dumps(_cni(layout)),
        "containerd.toml": _containerd(layout, runc),
        "resolv.conf": "# empty on purpose: pods must not inherit the resolver of the host\n",
        "kubelet.json": json.dumps(_kubelet(layout)),
        "Corefile": _corefile(layout),
        "proxy.json": json.dumps(_proxy(layout)),
    }


def audit_policy() -> dict[str, Any]:
    """Who did what to which kind of object, once per request, without bodies."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": _NOT_AUDITED_GROUPS},
            {"level": "None", "users": _NOT_AUDITED_USERS},
            {"level": "Metadata"},
        ],
    }


def _cni(layout: Layout) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.run / "ipam"),
        "ranges": [[{"subnet": layout.pod_network, "gateway": layout.node_ip}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": layout.bridge,
        "isGateway": True,
        "ipMasq": False,  # the host has routes to the pods: they keep their addresses
        "hairpinMode": True,
        "ipam": addresses,
    }
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "bed", "plugins": [bridge, port_map]}


def _containerd(layout: Layout, runc: str) -> str:
    # Without CAP_SYS_RESOURCE a negative oom_score_adj is refused: hence oom_score 0, restricted.
    return f"""\
version = 2
root = "{layout.run}/containerd/root"
state = "{layout.run}/containerd/state"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  enable_selinux = false
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_BINARIES}"
    conf_dir = "{layout.run}/cni"
"""


def _kubelet(layout: Layout) -> dict[str, Any]:
    run = layout.run
    never = ("memory.available", "nodefs.available", "nodefs.inodesFree",
             "imagefs.available", "imagefs.inodesFree")  # fmt: skip
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{layout.pki}/kubelet-serving.crt",
        "tlsPrivateKeyFile": f"{layout.pki}/kubelet-serving.key",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": False,  # the default refuses to start on cgroup v1
        "failSwapOn": False,
        "protectKernelDefaults": False,
        "makeIPTablesUtilChains": False,
        "evictionHard": dict.fromkeys(never, "0%"),  # a full disk of a test machine is no test
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "clusterDNS": [layout.node_ip],
        "clusterDomain": DOMAIN,
        "resolvConf": f"{run}/resolv.conf",
        "podLogsDir": f"{run}/podlogs",
        "maxPods": 200,
        "nodeStatusUpdateFrequency": "4s",
        "nodeStatusReportFrequency": "10s",
        "volumeStatsAggPeriod": "0s",
        "serializeImagePulls": False,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def _corefile(layout: Layout) -> str:
    return f"""\
.:53 {{
    bind {layout.node_ip}
    errors
    ready 127.0.0.1:8181
    health 127.0.0.1:8180
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {layout.pki}/dns.kubeconfig bed
        pods insecure
        ttl 1
    }}
    cache 1 {{
        disable denial
        disable success
    }}
}}
"""


def _proxy(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clusterCIDR": layout.pod_network,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": f"{layout.pki}/proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": 0},  # the kernel's own limits: not ours to change
    }
