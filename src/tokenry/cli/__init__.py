"""The door: one command, `tokenry`, whose verbs are a user's jobs.

Verb files import only typer at the top; a verb imports its room inside, so `--help` stays quick.
"""

import os
import sys
import warnings

import typer

from tokenry.cli.panels import verbs_under

HEADINGS = {
    "Main job": ("adapt",),
    "Data": ("corpus",),
    "Tokens": ("tokenizer",),
    "Models": ("transplant", "heal", "model", "hypernet"),
    "Using": ("generate", "route", "bench"),
    "House": ("papers", "doctor", "rerun"),
}

app = typer.Typer(
    name="tokenry",
    cls=verbs_under(HEADINGS),
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


from tokenry.cli import (  # noqa: E402
    adapt,
    bench,
    corpus,
    generate,
    heal,
    house,
    hypernet,
    model,
    route,
    tokenizer,
    transplant,
)
from tokenry.cli import corpus_artifacts as _corpus_artifacts  # noqa: E402, F401
from tokenry.cli import corpus_augment as _corpus_augment  # noqa: E402, F401
from tokenry.cli import corpus_classifier as _corpus_classifier  # noqa: E402, F401
from tokenry.cli import corpus_contexts as _corpus_contexts  # noqa: E402, F401
from tokenry.cli import corpus_criteria as _corpus_criteria  # noqa: E402, F401
from tokenry.cli import corpus_dedup as _corpus_dedup  # noqa: E402, F401
from tokenry.cli import corpus_mixing as _corpus_mixing  # noqa: E402, F401
from tokenry.cli import corpus_pack as _corpus_pack  # noqa: E402, F401
from tokenry.cli import corpus_predictive as _corpus_predictive  # noqa: E402, F401
from tokenry.cli import corpus_rate as _corpus_rate  # noqa: E402, F401
from tokenry.cli import corpus_raw as _corpus_raw  # noqa: E402, F401
from tokenry.cli import corpus_score as _corpus_score  # noqa: E402, F401
from tokenry.cli import corpus_select as _corpus_select  # noqa: E402, F401
from tokenry.cli import corpus_selectors as _corpus_selectors  # noqa: E402, F401
from tokenry.cli import corpus_skills as _corpus_skills  # noqa: E402, F401
from tokenry.cli import model_arithmetic as _arithmetic  # noqa: E402, F401
from tokenry.cli import tokenizer_audit as _audit  # noqa: E402, F401
from tokenry.cli import tokenizer_concepts as _concepts  # noqa: E402, F401
from tokenry.cli import tokenizer_extend as _extend  # noqa: E402, F401
from tokenry.cli import tokenizer_language as _language  # noqa: E402, F401
from tokenry.cli import tokenizer_mixture as _mixture  # noqa: E402, F401
from tokenry.cli import tokenizer_numbers as _numbers  # noqa: E402, F401
from tokenry.cli import tokenizer_train as _train  # noqa: E402, F401
from tokenry.cli import tokenizer_words as _words  # noqa: E402, F401
from tokenry.cli import transplant_dynamic as _dynamic  # noqa: E402, F401
from tokenry.cli import transplant_language as _transplant_language  # noqa: E402, F401
from tokenry.cli import transplant_relative as _transplant_relative  # noqa: E402, F401
from tokenry.cli import transplant_vectors as _transplant_vectors  # noqa: E402, F401

adapt.register(app)
app.add_typer(corpus.app, name="corpus")
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(model.app, name="model")
transplant.register(app)
heal.register(app)
app.add_typer(hypernet.app, name="hypernet")
generate.register(app)
bench.register(app)
app.add_typer(route.app, name="route")
house.register(app)

_INTERRUPTED = "interrupted; nothing half-written was left behind"
_MODELS = ("torch", "transformers", "safetensors", "accelerate")
_WRONG_ARGUMENTS = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def main(arguments: list[str] | None = None) -> None:
    """Run the door.

    Exit code 0 done, 1 the work failed or was interrupted, 2 the user can put it right: wrong arguments or input, a
    missing package, a full disk, a path that cannot be read or written.
    """
    if os.environ.get("TOKENRY_TRACEBACK"):
        app(arguments)
        return
    from tokenry.core.system_errors import mendable

    warnings.formatwarning = _warning
    try:
        app(arguments)
    except ModuleNotFoundError as problem:
        # Raised by an import itself: `needs` has a sentence of its own.
        module = (problem.name or "a module").partition(".")[0]
        package = "'tokenry[models]'" if module in _MODELS else module
        _stop(f"{module} is not installed, and this needs it. Install it: pip install {package}", 2)
    except (*_WRONG_ARGUMENTS, ImportError, PermissionError) as problem:
        _stop(mendable(problem) or problem, 2)
    except SystemExit as stop:
        # Typer turns Ctrl-C into a bare exit; what the verb said of its saved state is in the cause.
        cause = getattr(stop.__context__, "__cause__", None)
        if not isinstance(cause, KeyboardInterrupt):
            raise
        _stop(str(cause) or _INTERRUPTED, 1)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError as problem:
        _stop(f"not enough memory ({problem or 'an allocation failed'}). Nothing half-written was left behind; give "
              "less text (--limit), or take a machine with more.", 1)  # fmt: skip
    except (OSError, ArithmeticError) as problem:
        told = mendable(problem)
        _stop(told or problem, 2 if told else 1)
    except Exception as problem:
        if _was_interrupted(problem):
            _stop(_INTERRUPTED, 1)
        if told := mendable(problem):
            _stop(told, 2)
        _stop(f"the work failed ({type(problem).__name__}: {problem}). Set TOKENRY_TRACEBACK=1 to see where; unless it "
              "is a function of your own, please report it.", 1)  # fmt: skip


def _was_interrupted(problem: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: in a compiled kernel it comes out as a SystemError."""
    while problem is not None:
        if isinstance(problem, KeyboardInterrupt):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as one sentence, as our errors are; where it was raised is of no use here."""
    return f"tokenry: warning: {_harmless(str(message))}\n"


def _harmless(text: str) -> str:
    """What we say may quote a file; no character of it may steer the terminal."""
    from tokenry.core.report_text import visible

    return visible(text, lines=True)


def _stop(problem: BaseException | str, code: int) -> None:
    text = str(problem) or type(problem).__name__
    sys.stdout.flush()
    print(f"tokenry: {_harmless(text)}", file=sys.stderr)
    sys.exit(code)
