"""What all models of the API share: strict fields, camelCase outside, bounded values.

`BOUNDS` hold for every value of a manifest, in the CRD and in `validation` alike, so that neither
accepts what the other refuses for its size.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from speech_contract.codec import camel
from speech_contract.errors import ContractError

MAX_TEXT: Final = 32768  # characters; an argument may be a small script
MAX_ITEMS: Final = 1024  # of a list or a map
MAX_INTEGER: Final = 2**53 - 1  # beyond it JSON readers disagree

QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$"
DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
JOB_NAME: Final = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"  # DNS-1035: a Service carries it
ENV_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"

# What to write in a field of a form, for people who do not read regular expressions.
FORMS: Final = {
    QUANTITY: "write a quantity, as in 500m, 8 or 16Gi",
    DNS_LABEL: "use lower-case letters, digits and '-', none at an end a '-'",
    DNS_NAME: "use lower-case letters, digits, '-' and '.'",
    ENV_NAME: "use letters, digits and '_', the first no digit",
    "^/": "write an absolute path",
}


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


def exactly_one(owner: Model, *names: str) -> None:
    """Raises ContractError unless exactly one of these fields is set."""
    aliases = {name: type(owner).model_fields[name].alias or name for name in names}
    given = [alias for name, alias in aliases.items() if getattr(owner, name) is not None]
    if len(given) != 1:
        rule = f"sets {', '.join(given) or 'none'} of {', '.join(aliases.values())}"
        raise ContractError("", getattr(owner, "name", ""), rule, "set exactly one of them")


Text = Annotated[str, Field(min_length=1)]
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
