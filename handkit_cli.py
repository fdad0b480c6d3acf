"""The command line."""

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def main() -> None:
    """3D hands from images and video."""
