"""What all models of the API share: strict fields, camelCase outside, bounded values.

`BOUNDS` hold for every value of a manifest, in the CRD and in `validation` alike, so that neither
accepts what the other refuses for its size.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from speech_contract.codec import camel

MAX_TEXT: Final = 32768  # characters; an argument may be a small script
MAX_ITEMS: Final = 1024  # of a list or a map
MAX_INTEGER: Final = 2**53 - 1  # beyond it JSON readers disagree

QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$"
DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
JOB_NAME: Final = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # DNS-1035: a Service carries it
ENV_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Model(BaseModel):
    """A closed, frozen object of the API; a field nobody knows is an error."""

    model_config = ConfigDict(
        alias_generator=camel,
        extra="forbid",
        frozen=True,
        validate_by_name=True,
    )


def _whole_number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text has the form that a pattern of this module asks for."""
    return re.match(pattern.removesuffix("$") + r"\Z", text) is not None


Label = Annotated[str, Field(pattern=DNS_LABEL, max_length=63)]
Name = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]
OptionalName = Annotated[str, Field(pattern=rf"^$|{DNS_NAME}", max_length=253)]
Quantity = Annotated[
    str,
    BeforeValidator(_whole_number_as_text),
    Field(pattern=QUANTITY),
    WithJsonSchema({"x-kubernetes-int-or-string": True}),
]
# A map of Kubernetes' own that is passed on as it is; the API server checks it in the pod.
Passed = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
