"""What is built from Go modules: one family for each module in `tests/cluster/go/`. Data only.

Families are apart because each pins another client-go; within the first, Kubernetes' own pins
rule for etcd and CoreDNS as well, so that their hundreds of common packages are built once.
"""

from dataclasses import dataclass, field

KUBERNETES_VERSION = "1.35.4"
_COMPONENTS = (
    "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet",
    "kubectl",
)  # fmt: skip
_KWOK_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")


@dataclass(frozen=True)
class Family:
    """`targets`: binary -> package. `links`: further names of a binary. `tags`: build tags.

    `variables`: settings of Go variables by the linker. `stages`: where the module of the
    (only) tool keeps YAML files that belong to the binary, joined into `<target>-stages.yaml`.
    """

    name: str
    targets: dict[str, str]
    links: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tags: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    stages: tuple[str, ...] = ()

    @property
    def flags(self) -> list[str]:
        settings = "".join(f" -X {name}={value}" for name, value in self.variables.items())
        tags = ["-tags", self.tags] if self.tags else []
        return ["-trimpath", "-ldflags", f"-s -w{settings}", *tags]


def _kubernetes_version() -> dict[str, str]:
    # Built from the module, the version is a template of git: kubectl cannot parse it, and the
    # node and Helm show nonsense.
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {
        "gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor,
        "gitTreeState": "clean", "gitCommit": "unknown",
    }  # fmt: skip
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return {f"{package}.{name}": value for package in packages for name, value in values.items()}


KUBERNETES = Family(
    name="kubernetes",
    targets={
        "etcd": "go.etcd.io/etcd/server/v3",
        "hyperkube": "./hyperkube",
        "coredns": "./minidns",
        "pause": "./pause",
    },
    links={"hyperkube": _COMPONENTS},
    variables=_kubernetes_version(),
)
HELM = Family(name="helm", targets={"helm": "helm.sh/helm/v4/cmd/helm"})
PROMETHEUS = Family(
    name="prometheus",
    targets={
        "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
        "promtool": "github.com/prometheus/prometheus/cmd/promtool",
    },
    tags="remove_all_sd,enable_kubernetes_sd",
)
KWOK = Family(name="kwok", targets={"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, stages=_KWOK_STAGES)

# Built by `make accept-queues` alone; other tests have its CRDs (`bed.crds`) and speak for its controller.
KUEUE = Family(name="kueue", targets={"kueue": "sigs.k8s.io/kueue/cmd/kueue"})

# Built by `make accept-operator` alone, which measures beside it.
TRAINING_OPERATOR = Family(
    name="training-operator",
    targets={"training-operator": "github.com/kubeflow/training-operator/cmd/training-operator.v1"},
)

ALL = {family.name: family for family in (KUBERNETES, HELM, PROMETHEUS, KWOK)}
