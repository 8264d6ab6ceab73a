"""Options that many commands share."""

from __future__ import annotations

import click

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
profile_option = click.option("--profile", help="Where to run: a name or a file (default: local).")
study_argument = click.argument("study")
