"""The command line: one verb each from `handkit.cli`."""

from typing import Annotated

import typer

from handkit import __version__
from handkit.cli.demo import DEMO_HELP, demo
from handkit.cli.evaluate import EVALUATE_HELP, evaluate
from handkit.cli.finetune import app as finetune_app
from handkit.cli.generate import app as generate_app
from handkit.cli.pretrain import app as pretrain_app
from handkit.cli.pretrain_prior import HAND_PRIOR_HELP, hand_prior
from handkit.cli.pretrain_tables import HANDNET_TABLE_HELP, handnet_table
from handkit.cli.refine import REFINE_HELP, refine
from handkit.cli.selfsup import app as selfsup_app
from handkit.cli.selfsup_binocular import BINOCULAR_HELP, binocular
from handkit.cli.selfsup_binocular_table import BINOCULAR_TABLE_HELP, binocular_table
from handkit.cli.selfsup_tables import S2HAND_TABLE_HELP, s2hand_table

app = typer.Typer(
    name="handkit",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(help=DEMO_HELP)(demo)
app.command(help=REFINE_HELP)(refine)
app.add_typer(generate_app, name="generate")
pretrain_app.command("hand-prior", help=HAND_PRIOR_HELP)(hand_prior)
pretrain_app.command("handnet-table", help=HANDNET_TABLE_HELP)(handnet_table)
app.add_typer(pretrain_app, name="pretrain")
app.add_typer(finetune_app, name="finetune")
selfsup_app.command("binocular", help=BINOCULAR_HELP)(binocular)
selfsup_app.command("binocular-table", help=BINOCULAR_TABLE_HELP)(binocular_table)
selfsup_app.command("s2hand-table", help=S2HAND_TABLE_HELP)(s2hand_table)
app.add_typer(selfsup_app, name="selfsup")
app.command(help=EVALUATE_HELP)(evaluate)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"handkit {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """3D hands from images and video.

    [bold]Example[/bold]

        handkit demo video.mp4 --out hands
    """
