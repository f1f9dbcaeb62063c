"""Jobs as users write them, small enough for two cores. For `tests/e2e` and `make accept-cluster`."""

from typing import Any

from bed import rootfs

from speech_contract import names

Object = dict[str, Any]
DATA, CHECKPOINTS = "data", "checkpoints"  # claims of the namespace, and where they are mounted
CPU = "700m"


def vits(name: str, *, steps: int, nodes: int = 2, cpu: str = CPU, **spec: Any) -> Object:
    """A VITS Debug job on CPU, on nodes that are asked for a GPU; data and checkpoints on claims.

    `spec` replaces whole fields of the spec.
    """
    limits = {"nvidia.com/gpu": "1", "cpu": cpu, "memory": "4Gi"}
    return job(
        name,
        {
            "recipe": {"vits": {"preset": "Debug"}},
            "data": {
                "train": {"manifest": f"/{DATA}/train.jsonl"},
                "validation": {"manifest": f"/{DATA}/validation.jsonl"},
            },
            "training": {"device": "CPU", "maxSteps": steps, "seed": 7},
            "checkpoint": {"uri": f"/{CHECKPOINTS}/{name}", "everySteps": 20},
            "numNodes": nodes,
            "accelerator": "NVIDIA-H200",
            "trainer": {
                "resourcesPerNode": {"requests": {"cpu": "100m"}, "limits": limits},
                "volumeMounts": [
                    {"name": claim, "mountPath": f"/{claim}", "readOnly": claim == DATA}
                    for claim in (DATA, CHECKPOINTS)
                ],
            },
            "pod": {
                "volumes": [
                    {"name": claim, "persistentVolumeClaim": {"claimName": claim}}
                    for claim in (DATA, CHECKPOINTS)
                ]
            },
            **spec,
        },
    )


def codec(name: str, *, steps: int, **spec: Any) -> Object:
    """The same for a codec Debug of one pod, with half of its batch: from much less its codebooks can't start."""
    made = vits(name, steps=steps, nodes=1, recipe={"codec": {"preset": "Debug"}}, **spec)
    made["spec"]["training"]["globalBatchSize"] = 8
    return made


def ours(name: str, *command: str, **spec: Any) -> Object:
    """A command of one pod in our own image, over the same claims; none of our recipes."""
    made = vits(name, steps=1, nodes=1, recipe={"custom": {}}, **spec)
    for of_recipes in ("data", "training"):
        del made["spec"][of_recipes]
    made["spec"]["trainer"]["command"] = list(command)
    return made


def script(name: str, code: str, *, cpu: str = CPU, **spec: Any) -> Object:
    """A Python script in a foreign image, watched by the injected launcher."""
    limits = {"cpu": cpu, "memory": "1Gi"}
    return job(
        name,
        {
            "recipe": {"custom": {}},
            "checkpoint": {"uri": "/tmp/run", "ephemeral": True},
            "trainer": {
                "image": rootfs.PYTHON_IMAGE,
                "command": ["python3", "-c", code],
                "resourcesPerNode": {"requests": {"cpu": "50m"}, "limits": limits},
                "securityContext": {"runAsUser": 4711},
            },
            **spec,
        },
    )


def job(name: str, spec: Object) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
