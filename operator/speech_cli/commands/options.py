"""Options that several commands share, spelled once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from speech_cli import local
from speech_cli.cluster_client import KUBECONFIG, Access
from speech_cli.place import Force, Where
from speech_contract.errors import nearest

plain_option = click.option(
    "--plain", is_flag=True, help="Plain lines without colour, as when the output is no terminal."
)
json_option = click.option(
    "-o", "--output", type=click.Choice(["json"]), help="Print the answer as JSON."
)
form_option = click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), help="Print the document in this form."
)
runtime_option = click.option(
    "--runtime", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="File with the runtime that the manifest names, where it is not in the same file.",
)  # fmt: skip


class InputFile(click.Path):
    """A file that must be there; one that is not is answered with the nearest name beside it."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises BadParameter."""
        path = Path(str(value))
        if path.is_dir():
            self.fail(f"{str(value)!r} is a directory; name a file in it", param, ctx)
        if not path.exists():
            self.fail(f"{str(value)!r} is not there; {_meant(path)}", param, ctx)
        return super().convert(value, param, ctx)


file_argument = click.argument("file", type=InputFile())


def _meant(path: Path) -> str:
    """The file beside it whose name is nearest; endings are alike anyway."""
    try:
        beside = {file.stem: file for file in path.parent.iterdir()}
    except OSError:
        beside = {}
    guess = nearest(path.stem, beside)
    return f"did you mean {beside[guess]}?" if guess else "check the path"


def _jobs_of(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Jobs of this machine alone: a Tab must not wait for a cluster."""
    return local.job_names(ctx.params.get("namespace") or local.DEFAULT_NAMESPACE, incomplete)


job_argument = click.argument("job", shell_complete=_jobs_of)
optional_job_argument = click.argument("job", required=False, shell_complete=_jobs_of)
everywhere_option = click.option(
    "-A", "--all-namespaces", "everywhere", is_flag=True, help="The jobs of every namespace."
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


def all_or_one(where: Where, *, everywhere: bool) -> Where:
    """`-A` and `-n` in one. Raises UsageError where both are given."""
    if everywhere and where.namespace:
        raise click.UsageError("-A means every namespace: give no -n beside it")
    return dataclasses.replace(where, everywhere=everywhere)
