"""`handkit finetune ...`: moving trained networks to other data; imports nothing heavy at the top."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handkit.cli.options import RUN, AsJson, Debug, Device, Quiet, changes_option, recipe_option
from handkit.cli.training import WHAT, ForceRun, Seed, run_training, settings_given

if TYPE_CHECKING:
    from handkit.runs.result import RunResult

app = typer.Typer(
    help="Move trained networks to other data.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SEQHAND_HELP = """Move a pretrained SeqHAND-Net to annotated stills, its recurrent layer frozen.

Every still is a sequence of one frame. What a data set does not annotate is left out of the loss.

[bold]Examples[/bold]

    handkit finetune seqhand --init runs/seqhand/seqhand.safetensors --data freihand=FreiHAND --data stb=STB
    handkit finetune seqhand --init seqhand-small.safetensors --data images=photos --set train.steps=2000
    handkit finetune seqhand --init seqhand.safetensors --recipe seqhand-finetune-unfrozen --data freihand=FreiHAND
"""


@app.callback()
def verb() -> None:
    pass


@app.command("seqhand", help=_SEQHAND_HELP)
def seqhand(
    init: Annotated[Path, typer.Option("--init", metavar="FILE", rich_help_panel=WHAT, help="The pretrained weights.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run goes.")] = Path(
        "runs/seqhand-finetune"
    ),
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="NAME=DIR", rich_help_panel=WHAT, help="A data set; as often as wanted."),
    ] = None,
    recipe: Annotated[str, recipe_option(WHAT)] = "seqhand-finetune",
    changes: Annotated[list[str] | None, changes_option(WHAT)] = None,
    seed: Seed = None,
    device: Annotated[Device, typer.Option(rich_help_panel=RUN, help="Where to compute.")] = Device.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: ForceRun = False,
    debug: Debug = False,
) -> None:
    sources = [_source(text) for text in data or []]
    given = settings_given(train__seed=seed) + (settings_given(data__sources=sources) if sources else [])

    def run(show_progress: bool) -> "tuple[RunResult, Any]":
        from handkit.runs.seqhand import finetune_seqhand, print_report

        result = finetune_seqhand(
            out,
            init=init,
            recipe=recipe,
            changes=[*given, *(changes or [])],
            device=device.value,
            force=force,
            show_progress=show_progress,
        )
        return result, print_report

    run_training(run, as_json=as_json, quiet=quiet, debug=debug)


def _source(text: str) -> dict[str, str]:
    """NAME=DIR, or NAME:SPLIT=DIR."""
    name, equals, root = text.partition("=")
    name, colon, split = name.partition(":")
    if not (name and equals and root) or bool(colon) != bool(split):
        raise typer.BadParameter(f"{text!r} is not NAME=DIR or NAME:SPLIT=DIR", param_hint="--data")
    return {"dataset": name, "root": root, **({"split": split} if split else {})}
