"""Options that several commands share, spelled once."""

from __future__ import annotations

import click

from speech_cli.local import DEFAULT_NAMESPACE

namespace_option = click.option(
    "-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="Namespace of the job."
)
plain_option = click.option(
    "--plain", is_flag=True, help="Plain lines without colour, as when the output is no terminal."
)
json_option = click.option(
    "-o", "--output", type=click.Choice(["json"]), help="Print the answer as JSON."
)
form_option = click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), help="Print the document in this form."
)
