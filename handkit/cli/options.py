"""Options that mean the same in every verb; imports nothing heavy."""

from enum import Enum
from typing import Annotated, Any

import typer

from handkit.demo.options import ROTATIONS

RUN = "Run"


class Device(str, Enum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Rotation(str, Enum):
    R0, R90, R180, R270 = (str(angle) for angle in ROTATIONS)


ComputeOn = Annotated[Device, typer.Option("--device", rich_help_panel=RUN, help="Where to compute.")]
AsJson = Annotated[bool, typer.Option("--json", rich_help_panel=RUN, help="Print one JSON object, no table.")]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", rich_help_panel=RUN, help="No progress and no log; errors and the result stay."),
]
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=RUN, help="Show tracebacks.")]


def recipe_option(panel: str) -> Any:
    """--recipe, of a verb that has settings."""
    return typer.Option(metavar="NAME|FILE", rich_help_panel=panel, help="Settings; options change them.")


def changes_option(panel: str) -> Any:
    """--set, as often as wanted."""
    return typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=_parse_changes,
        rich_help_panel=panel,
        help="Change a setting of the recipe.",
    )


def _parse_changes(changes: list[str] | None) -> list[str] | None:
    for change in changes or []:
        key, equals, _ = change.partition("=")
        if not key.strip() or not equals:
            raise typer.BadParameter(f"{change!r} is not KEY=VALUE, such as train.steps=500")
    return changes
