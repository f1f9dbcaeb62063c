"""The run config: one immutable document per attempt, the same for all pods of it.

Built by the operator (`resources.config_map`) from an accepted job, read by launcher and trainer from the path
in SPEECHTRAIN_RUN_CONFIG. A pod takes its own index from PET_NODE_RANK.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib

from speech_contract.checks import check_at_least
from speech_contract.codec import FORBID
from speech_contract.errors import ContractError
from speech_contract.places import PATH
from speech_contract.recipes import RecipeSpec
from speech_contract.thresholds import Thresholds
from speech_contract.values import Value, frozen


class Precision(str, enum.Enum):
    """BF16 = bf16 autocast over fp32 master weights."""

    FP32 = "FP32"
    BF16 = "BF16"


class Device(str, enum.Enum):
    """Auto means CUDA on a cluster that was asked for GPUs; CPU is never chosen in silence there."""

    AUTO = "Auto"
    CUDA = "CUDA"
    CPU = "CPU"


class ResumeFrom(str, enum.Enum):
    """Newest (not quarantined) after an interruption, Confirmed after a health failure."""

    NEWEST = "Newest"
    CONFIRMED = "Confirmed"


class ResumePolicy(str, enum.Enum):
    """`checkpoint.resume`: Auto continues what lies in the run directory; Never refuses a used one."""

    AUTO = "Auto"
    NEVER = "Never"


@frozen
class DataSet(Value):
    """Recordings: exactly one of its fields is set."""

    __pydantic_config__ = FORBID
    manifest: str | None = dataclasses.field(default=None, metadata=PATH)
    """Path of a JSONL file, one recording a line; relative only on one machine. Exactly one of manifest and folder."""
    folder: str | None = dataclasses.field(default=None, metadata=PATH)
    """Path of a folder: every audio file in it and below is a recording, for recipes that need no text."""

    def __post_init__(self) -> None:
        given = [name for name in self.names() if getattr(self, name) is not None]
        if len(given) != 1:
            rule = f"sets {' and '.join(given) or 'none'} of {', '.join(self.names())}"
            remedy = "set exactly one of them: a JSONL file of recordings, or a folder of audio"
            raise ContractError("", given, rule, remedy)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """What recordings can come as."""
        return tuple(field.name for field in dataclasses.fields(cls))


@frozen
class Data(Value):
    """`spec.data`."""

    __pydantic_config__ = FORBID
    train: DataSet
    """What the model learns from."""
    validation: DataSet | None = None
    """What it is scored on and never learns from; unset means no held-out scores."""
    max_samples: int | None = None
    """At most so many recordings of the training data, from its top; unset means all."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "max_samples")


@frozen
class Training(Value):
    """`spec.training`. `global_batch_size` None = the preset's; it holds whatever the number of ranks.

    `micro_batch_size`: samples that one rank takes through the model at once; gradients are accumulated until its
    share of the global batch is done. None = the whole share at once.
    """

    __pydantic_config__ = FORBID
    max_steps: int = 1000
    """Optimizer steps after which training is complete."""
    global_batch_size: int | None = None
    """Samples a step over all ranks, whatever their number; unset means the preset's."""
    micro_batch_size: int | None = None
    """Samples that a rank takes through the model at once; gradients add up to its share. Unset: all of it at once."""
    seed: int = 0
    """Seed of weights, order and noise; one seed, one result on one kind of machine."""
    precision: Precision = Precision.FP32
    """BF16 is bfloat16 autocast over float32 weights."""
    device: Device = Device.AUTO
    """Auto is CUDA wherever GPUs were asked for; CPU is never chosen in silence there."""
    log_every_steps: int | None = None
    """Steps between two reports of losses and norms; unset means the preset's (Debug 1, Base 10)."""
    evaluate_every_steps: int = 0
    """Steps between two evaluations on held-out data; 0 evaluates at the end alone."""

    def __post_init__(self) -> None:
        check_at_least(
            self, 1, "max_steps", "global_batch_size", "micro_batch_size", "log_every_steps"
        )
        check_at_least(self, 0, "seed", "evaluate_every_steps")


@frozen
class Checkpoint(Value):
    """`spec.checkpoint`. `uri` is the run directory."""

    __pydantic_config__ = FORBID
    uri: str = dataclasses.field(metadata=PATH)
    """Run directory: checkpoints, logs, samples, scores. A path on a volume that outlives the pod."""
    every_steps: int = 500
    """Steps between two checkpoints."""
    keep_last: int = 3
    """Newest checkpoints that are kept; the last confirmed one always is."""
    resume: ResumePolicy = ResumePolicy.AUTO
    """Auto continues what lies in the run directory; Never refuses a used one."""
    ephemeral: bool = False
    """True says that the run directory may be lost with its pod."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "every_steps", "keep_last")


@frozen
class StrategicLogging(Value):
    """`spec.strategicLogging`."""

    __pydantic_config__ = FORBID
    enabled: bool = True
    """Whether what goes in and comes out of the model is written to the log now and then."""
    every_steps: int = 100
    """Steps between two such entries."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "every_steps")


@frozen
class WeightsAndBiases(Value):
    """`spec.tracking.wandb`. Key, address and mode come from the container's environment, as everywhere."""

    __pydantic_config__ = FORBID
    project: str
    """Project that the run is shown in."""
    entity: str = ""
    """Team or user that owns the project; empty: the key's own."""

    def __post_init__(self) -> None:
        if not self.project:
            raise ContractError("project", "", "is empty", "name the project")


@frozen
class Tracking(Value):
    """`spec.tracking`: where else the numbers of the run are told."""

    __pydantic_config__ = FORBID
    tensorboard: bool = False
    """Whether the run directory holds its curves as a TensorBoard event file too, in `tensorboard/`."""
    wandb: WeightsAndBiases | None = None
    """Weights & Biases; needs the package `wandb` in the image. One run for all attempts."""


@frozen
class RunConfig(Value):
    """Everything an attempt's processes need to know of the job. `run_dir` is `checkpoint.uri` made local."""

    namespace: str
    name: str
    uid: str
    attempt: int
    token: str  # keeps strays out; no secret
    num_nodes: int
    ranks_per_node: int
    master_address: str
    master_port: int
    supervisor_addresses: list[str]  # host:port of every pod's supervisor, by node rank
    run_dir: str = dataclasses.field(metadata=PATH)
    recipe: RecipeSpec
    training: Training
    checkpoint: Checkpoint
    data: Data | None = None  # custom recipes may have none
    resume_from: ResumeFrom = ResumeFrom.NEWEST
    health: Thresholds = dataclasses.field(default_factory=Thresholds)
    strategic_logging: StrategicLogging = dataclasses.field(default_factory=StrategicLogging)
    tracking: Tracking = dataclasses.field(default_factory=Tracking)
    grace_seconds: int = 120  # SIGTERM to SIGKILL
    omp_threads: int = 1
    accelerator: str = ""  # for the message when torch sees none
    resume_before: int | None = None  # with Confirmed: only what was saved before this step

    @property
    def world_size(self) -> int:
        """All ranks of the job."""
        return self.num_nodes * self.ranks_per_node


def attempt_token(uid: str, attempt: int) -> str:
    """First 32 hex digits of SHA-256 of `<uid>/<attempt>`."""
    return hashlib.sha256(f"{uid}/{attempt}".encode()).hexdigest()[:32]
