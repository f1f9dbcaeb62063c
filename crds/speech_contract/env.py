"""Environment variables that cross a process boundary: who writes, who reads.

`PET_*`, `MASTER_*`, `RANK`, `WORLD_SIZE` are torchrun's and PyTorchJob's names, kept as they are.
"""

from __future__ import annotations

from typing import Final

# Pod → supervisor. Written by resources/environment (or LocalCluster), read by speech_telemetry.launch.
MASTER_ADDR: Final = "MASTER_ADDR"
MASTER_PORT: Final = "MASTER_PORT"
WORLD_SIZE: Final = "WORLD_SIZE"  # all ranks of the job, also for nprocPerNode unset
RANK: Final = "RANK"  # pod level: the node rank; rank level: the global rank
PET_NODE_RANK: Final = "PET_NODE_RANK"
PET_NNODES: Final = "PET_NNODES"
PET_NPROC_PER_NODE: Final = "PET_NPROC_PER_NODE"
PET_MASTER_ADDR: Final = "PET_MASTER_ADDR"
PET_MASTER_PORT: Final = "PET_MASTER_PORT"
RUN_CONFIG: Final = "SPEECHTRAIN_RUN_CONFIG"  # path of run.json
POD_NAME: Final = "SPEECHTRAIN_POD_NAME"
KUBERNETES_HOST: Final = "KUBERNETES_SERVICE_HOST"  # the kubelet's; there: in a cluster
NODE_NAME: Final = "SPEECHTRAIN_NODE_NAME"  # the machine, for messages
TERMINATION_LOG: Final = "SPEECHTRAIN_TERMINATION_LOG"  # default paths.TERMINATION_LOG

# Supervisor → ranks (torch's env:// names plus ours).
LOCAL_RANK: Final = "LOCAL_RANK"
LOCAL_WORLD_SIZE: Final = "LOCAL_WORLD_SIZE"
GROUP_RANK: Final = "GROUP_RANK"
TORCHELASTIC_RUN_ID: Final = "TORCHELASTIC_RUN_ID"
TORCHELASTIC_RESTART_COUNT: Final = "TORCHELASTIC_RESTART_COUNT"
TORCHELASTIC_ERROR_FILE: Final = (
    "TORCHELASTIC_ERROR_FILE"  # torch's @record writes it, the supervisor reads it
)
OMP_NUM_THREADS: Final = "OMP_NUM_THREADS"
SOCKET: Final = "SPEECHTRAIN_SOCKET"  # Unix datagram socket of the supervisor; the reporter is silent without it
PHASE_FILE: Final = "SPEECHTRAIN_PHASE_FILE"  # the rank's mmap of (step, phase, time)
RUN_DIR: Final = "SPEECHTRAIN_RUN_DIR"
ATTEMPT: Final = "SPEECHTRAIN_ATTEMPT"
RESUME_FROM: Final = "SPEECHTRAIN_RESUME_FROM"  # Newest | Confirmed
# Of `custom` scripts alone, see speech_contract.saves.
RESUME_STEP: Final = "SPEECHTRAIN_RESUME_STEP"  # of the checkpoint to go on from; unset: none
RESUME_PATH: Final = "SPEECHTRAIN_RESUME_PATH"  # of the same, as the script told it, absolute
SKIP_WINDOWS: Final = "SPEECHTRAIN_SKIP_WINDOWS"  # JSON [[first, last), …] of data to pass over

# User → trainer, through spec.trainer.env.
WRAP_RECIPE: Final = (
    "SPEECHTRAIN_WRAP_RECIPE"  # module:callable that wraps the built recipe (experiments, faults)
)
PREFLIGHT_ONLY: Final = "SPEECHTRAIN_PREFLIGHT_ONLY"  # 1: check, then end with 0 or 44

# User → CLI.
LOCAL_STATE: Final = "SPEECHTRAIN_STATE"  # default .speechtrain below the working directory

# Chart → operator. The rest of each name is a field of speech_operator.settings.Settings in capitals.
OPERATOR_PREFIX: Final = "SPEECHTRAIN_OPERATOR_"
OPERATOR_POD_NAME: Final = "POD_NAME"
OPERATOR_POD_NAMESPACE: Final = "POD_NAMESPACE"
