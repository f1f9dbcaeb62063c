"""A manifest that is right, and ways to bend one value of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
Bend = Callable[..., Manifest]

GOOD = """
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: telugu-vits, namespace: speech}
spec:
  recipe:
    vits: {preset: Base, pretrained: /models/mms-tts-tel, learningRate: "2e-5"}
  data:
    train: {manifest: /data/te/train.jsonl}
    validation: {manifest: /data/te/val.jsonl}
    maxSamples: 100
  training: {maxSteps: 20000, globalBatchSize: 64, seed: 7, precision: BF16, logEverySteps: 10}
  checkpoint: {uri: /checkpoints/telugu-vits, everySteps: 500, keepLast: 3}
  numNodes: 2
  nprocPerNode: 8
  trainer:
    image: registry.example/speechtrain-trainer:1.0
    resourcesPerNode: {limits: {nvidia.com/gpu: 8, memory: 900Gi}}
    env: [{name: NCCL_DEBUG, value: WARN}]
    volumeMounts: [{name: runs, mountPath: /checkpoints}, {name: data, mountPath: /data}]
  accelerator: NVIDIA-H200
  pod:
    volumes:
      - {name: runs, persistentVolumeClaim: {claimName: runs}}
      - {name: data, persistentVolumeClaim: {claimName: data, readOnly: true}}
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {}}}
  health: {zeroLoss: {forSteps: 10}}
"""

CUSTOM = """
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: anything}
spec:
  recipe: {custom: {}}
  checkpoint: {uri: runs/anything}
  trainer: {command: [python3, train.py]}
"""

REMOVED = object()


def bent(document: Manifest, path: str, value: Any) -> Manifest:
    """A copy with the value at a dotted path replaced, added, or (value REMOVED) taken away."""
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    node: Any = document
    for step in parents:
        node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
    if value is REMOVED:
        del node[last]
    elif isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value
    return document


@pytest.fixture
def good() -> Manifest:
    """A vits job as for a cluster, with most fields written."""
    loaded: Manifest = yaml.safe_load(GOOD)
    return loaded


@pytest.fixture
def custom() -> Manifest:
    """The smallest custom job, for one machine."""
    loaded: Manifest = yaml.safe_load(CUSTOM)
    return loaded


@pytest.fixture
def bend(good: Manifest) -> Bend:
    """`bend("spec.training.maxSteps", 0)` → the good manifest with that value; no value removes it."""

    def one(path: str, value: Any = REMOVED) -> Manifest:
        return bent(good, path, value)

    return one
