"""The command line inside the tests' own process."""

from typer.testing import CliRunner

from handkit_cli import app


def handkit(*arguments: object) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a command; what it does not tell as an error is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
