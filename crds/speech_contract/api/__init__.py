"""The API `speechtrain.dev/v1alpha1`: models of SpeechTrainingJob, and the one way in, `parse` (`parse_spec` for
a spec alone, `parse_runtime` for a runtime).

Used by the operator and the CLI. Needs pydantic, so nothing that ships as a zipapp imports it.
"""

from speech_contract.api.immutability import changed_immutable
from speech_contract.api.spec import JobSpec, SpeechTrainingJob
from speech_contract.api.validation import (
    InvalidJob,
    parse,
    parse_runtime,
    parse_spec,
    spec_document,
    validate,
)
from speech_contract.status import JobStatus, read_status

__all__ = [
    "InvalidJob",
    "JobSpec",
    "JobStatus",
    "SpeechTrainingJob",
    "changed_immutable",
    "parse",
    "parse_runtime",
    "parse_spec",
    "read_status",
    "spec_document",
    "validate",
]
