"""Command lines of the daemons of one test cluster. Pure: a layout and binaries in, lists out."""

from collections.abc import Mapping
from pathlib import Path

from bed import layout as ports
from bed.layout import NODE, Layout

Commands = dict[str, list[str]]
_FAST_CLIENT = ["--kube-api-qps=200", "--kube-api-burst=400"]
_AUDIT_MIB = 100_000  # one file, however long a bed lives: by default the oldest requests move away at 100 MiB


def control_plane(layout: Layout, binaries: Mapping[str, Path]) -> Commands:
    return {
        "etcd": _etcd(layout, binaries),
        "apiserver": _apiserver(layout, binaries),
        "controllers": _controllers(layout, binaries),
        "scheduler": _scheduler(layout, binaries),
    }


def node(layout: Layout, binaries: Mapping[str, Path], containerd: str) -> Commands:
    run, pki = layout.run, layout.pki
    return {
        "containerd": [containerd, "--config", f"{run}/containerd.toml", "--log-level", "info"],
        "kubelet": [
            str(binaries["kubelet"]),
            f"--config={run}/kubelet.json",
            f"--kubeconfig={pki}/kubelet.kubeconfig",
            f"--hostname-override={NODE}",
            f"--node-ip={layout.node_ip}",
            f"--root-dir={run}/kubelet",
            f"--cert-dir={run}/kubelet/pki",
            "--v=2",
        ],
        "dns": [str(binaries["coredns"]), "-conf", f"{run}/Corefile"],
        "proxy": [str(binaries["kube-proxy"]), f"--config={run}/proxy.json"],
    }


def kwok(layout: Layout, binaries: Mapping[str, Path]) -> Commands:
    """Nodes annotated `kwok.x-k8s.io/node: fake`, and their pods, exist in the API alone."""
    command = [
        str(binaries["kwok"]),
        f"--kubeconfig={layout.pki}/kwok.kubeconfig",
        f"--config={binaries['kwok-stages.yaml']}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--server-address=127.0.0.1:{layout.port(ports.KWOK)}",
        "--node-lease-duration-seconds=40",
        "--cidr=10.100.0.0/16",
        f"--node-ip={layout.node_ip}",
    ]
    return {"kwok": command}


def _etcd(layout: Layout, binaries: Mapping[str, Path]) -> list[str]:
    return [
        str(binaries["etcd"]),
        f"--data-dir={layout.run}/etcd",
        f"--listen-client-urls={layout.etcd_url}",
        f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={layout.etcd_peer_url}",
        f"--initial-advertise-peer-urls={layout.etcd_peer_url}",
        f"--initial-cluster=default={layout.etcd_peer_url}",
        "--log-level=warn",
        "--unsafe-no-fsync",  # nobody will miss this data after a power cut
    ]


def _apiserver(layout: Layout, binaries: Mapping[str, Path]) -> list[str]:
    pki = layout.pki
    command = [
        str(binaries["kube-apiserver"]),
        f"--etcd-servers={layout.etcd_url}",
        f"--bind-address={'0.0.0.0' if layout.private else '127.0.0.1'}",
        f"--secure-port={layout.port(ports.API)}",
        f"--advertise-address={layout.node_ip}",
        f"--service-cluster-ip-range={layout.service_network}",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        f"--cert-dir={layout.run}/apiserver-certs",
        f"--audit-policy-file={layout.run}/audit-policy.json",
        f"--audit-log-path={layout.run}/audit.log",
        f"--audit-log-maxsize={_AUDIT_MIB}",
    ]
    # A loopback address can be no endpoint of the Service `kubernetes`: don't try.
    return command if layout.private else [*command, "--endpoint-reconciler-type=none"]


def _controllers(layout: Layout, binaries: Mapping[str, Path]) -> list[str]:
    pki = layout.pki
    return [
        str(binaries["kube-controller-manager"]),
        f"--kubeconfig={pki}/controllers.kubeconfig",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.port(ports.CONTROLLERS)}",
        f"--cert-dir={layout.run}/controllers-certs",
        *_FAST_CLIENT,
    ]


def _scheduler(layout: Layout, binaries: Mapping[str, Path]) -> list[str]:
    return [
        str(binaries["kube-scheduler"]),
        f"--kubeconfig={layout.pki}/scheduler.kubeconfig",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={layout.port(ports.SCHEDULER)}",
        f"--cert-dir={layout.run}/scheduler-certs",
        *_FAST_CLIENT,
    ]
