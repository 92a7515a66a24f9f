"""The door: one command, `tokenry`, whose verbs are a user's jobs.

Verb files import only typer at the top; a verb imports its room inside, so `--help` stays quick.
"""

import os
import sys

import typer

app = typer.Typer(
    name="tokenry",
    help="Data-driven token composition: audit a tokenizer, compose better tokens from your data, "
    "move a pretrained model onto them, heal it, and prove in bits per byte what was gained and lost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here:  `tokenry adapt --demo --out out/demo`  ·  `tokenry doctor`  ·  `tokenry papers`",
)


def _version(value: bool) -> None:
    if value:
        from tokenry import __version__

        typer.echo(f"tokenry {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


from tokenry.cli import adapt, house, model, tokenizer, transplant  # noqa: E402
from tokenry.cli import model_arithmetic as _arithmetic  # noqa: E402, F401
from tokenry.cli import tokenizer_audit as _audit  # noqa: E402, F401
from tokenry.cli import tokenizer_concepts as _concepts  # noqa: E402, F401
from tokenry.cli import tokenizer_extend as _extend  # noqa: E402, F401
from tokenry.cli import tokenizer_language as _language  # noqa: E402, F401
from tokenry.cli import tokenizer_mixture as _mixture  # noqa: E402, F401
from tokenry.cli import tokenizer_numbers as _numbers  # noqa: E402, F401
from tokenry.cli import tokenizer_train as _train  # noqa: E402, F401
from tokenry.cli import tokenizer_words as _words  # noqa: E402, F401

adapt.register(app)
app.add_typer(tokenizer.app, name="tokenizer", rich_help_panel="Tokens")
app.add_typer(model.app, name="model", rich_help_panel="Models")
transplant.register(app)
house.register(app)

_WRONG_ARGUMENTS = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def main(arguments: list[str] | None = None) -> None:
    """Run the door. Exit code 0 done, 1 the work failed or was interrupted, 2 the arguments were wrong."""
    if os.environ.get("TOKENRY_TRACEBACK"):
        app(arguments)
        return
    try:
        app(arguments)
    except (*_WRONG_ARGUMENTS, ImportError, PermissionError) as problem:
        _stop(problem, 2)
    except SystemExit as stop:
        # Typer turns Ctrl-C into a bare exit; what the verb said of its saved state is in the cause.
        cause = getattr(stop.__context__, "__cause__", None)
        if not isinstance(cause, KeyboardInterrupt):
            raise
        _stop(str(cause) or "interrupted; nothing half-written was left behind", 1)
    except (OSError, MemoryError, ArithmeticError) as problem:
        _stop(problem, 1)


def _stop(problem: BaseException | str, code: int) -> None:
    text = str(problem) or type(problem).__name__
    sys.stdout.flush()
    print(f"tokenry: {text}", file=sys.stderr)
    sys.exit(code)
