"""Options that several commands share, spelled once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from speech_cli.cluster_client import KUBECONFIG, Access
from speech_cli.place import Force, Where

plain_option = click.option(
    "--plain", is_flag=True, help="Plain lines without colour, as when the output is no terminal."
)
json_option = click.option(
    "-o", "--output", type=click.Choice(["json"]), help="Print the answer as JSON."
)
form_option = click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), help="Print the document in this form."
)

_PLACE_OPTIONS = (
    click.option("-n", "--namespace", help="Namespace; else the context's, else default."),
    click.option("--local", is_flag=True, help="Look on this machine alone."),
    click.option("--cluster", is_flag=True, help="Look in the cluster alone."),
    click.option("--context", default="", help="Context of the kubeconfig; means --cluster."),
    click.option("--kubeconfig", default="", metavar="FILE",
                 help=f"Else ${KUBECONFIG}, else kubectl's own; means --cluster."),
)  # fmt: skip


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where a job lives; the command gets them as `where`."""

    @functools.wraps(command)
    def wrapper(
        *args: Any,
        namespace: str | None,
        local: bool,
        cluster: bool,
        context: str,
        kubeconfig: str,
        **kwargs: Any,
    ) -> Any:
        cluster = cluster or bool(context or kubeconfig)
        if local and cluster:
            raise click.UsageError("--local and a cluster are asked for; give one of them")
        force = Force.LOCAL if local else Force.CLUSTER if cluster else Force.NEITHER
        where = Where(namespace, force=force, access=Access(context, kubeconfig))
        return command(*args, where=where, **kwargs)

    for option in reversed(_PLACE_OPTIONS):
        wrapper = option(wrapper)
    return wrapper
