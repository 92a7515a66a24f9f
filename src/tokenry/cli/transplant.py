"""Verbs that change a model's tokens: transplant (move, compare, apply, revert, verify)."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from tokenry.cli.output import (
    DeviceOption,
    DtypeOption,
    JsonFlag,
    LimitOption,
    OverwriteFlag,
    QuietFlag,
    SeedOption,
    SkipBadFlag,
    TextColumn,
    command_line,
    quiet,
    show,
    sources,
)
from tokenry.transplant import METHODS

Folder = Annotated[Path, typer.Argument(help="Model folder.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]


class _MoveByDefault(TyperGroup):
    """`tokenry transplant BASE ...` means `tokenry transplant move BASE ...`."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["move", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_MoveByDefault, no_args_is_help=True, help="Give a model another tokenizer; compare, apply, revert, verify."
)


def register(parent: typer.Typer) -> None:
    """Put the verbs of this file on `parent`."""
    parent.add_typer(app, name="transplant")


def _list_when_asked(method: str) -> str:
    """`--method list` prints the methods and ends, whatever else is missing."""
    if method == "list":
        from tokenry.transplant.materials import list_methods

        show(list_methods())
        raise typer.Exit
    return method


Tokenizer = Annotated[str | None, typer.Option(help="The tokenizer it should have.")]
Donor = Annotated[
    str | None, typer.Option(help="A model whose tokenizer it should have; its rows serve omp and others.")
]
Method = Annotated[
    str,
    typer.Option(
        callback=_list_when_asked,
        is_eager=True,
        help=f"{', '.join(sorted(METHODS))}; pkg.module:function; or list: print them with what each needs.",
    ),
]
_GIVEN = "Materials"
Encoder = Annotated[
    str | None, typer.Option(help="Sentence encoder or model: folder or hub name.", rich_help_panel=_GIVEN)
]
Vectors = Annotated[
    str | None, typer.Option(help="Word vectors of the old language (word2vec text format).", rich_help_panel=_GIVEN)
]
NewVectors = Annotated[str | None, typer.Option(help="Word vectors of the new language.", rich_help_panel=_GIVEN)]
Dictionary = Annotated[str | None, typer.Option(help="File of old word<TAB>new word lines.", rich_help_panel=_GIVEN)]
Parallel = Annotated[str | None, typer.Option(help="File of old line<TAB>new line lines.", rich_help_panel=_GIVEN)]
Hypernet = Annotated[str | None, typer.Option(help="Folder of a trained hypernetwork.", rich_help_panel=_GIVEN)]
Picks = Annotated[
    int | None, typer.Option("--k", min=1, help="Tokens mixed into one new token.", rich_help_panel=_GIVEN)
]
Memory = Annotated[
    int | None, typer.Option("--memory-mb", min=1, help="Bound on a method's work arrays.", rich_help_panel=_GIVEN)
]
Own = Annotated[
    list[str] | None, typer.Option("--option", help="key=value of the method itself; repeat.", rich_help_panel=_GIVEN)
]
Digits = Annotated[
    str, typer.Option(help="keep, or decompose: rows of numbers from the old digit pieces, whatever the method.")
]


@app.command(epilog="Example:  `tokenry transplant ./smollm2 --tokenizer ./german-tok --method pieces --out ./moved`")
def move(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model to keep: folder or hub name.")],
    out: Out,
    tokenizer: Tokenizer = None,
    donor: Donor = None,
    method: Method = "pieces",
    data: Annotated[
        list[str] | None, typer.Option("--data", help="Text of the new language or domain.", rich_help_panel=_GIVEN)
    ] = None,
    encoder: Encoder = None,
    vectors: Vectors = None,
    new_vectors: NewVectors = None,
    dictionary: Dictionary = None,
    parallel: Parallel = None,
    hypernet: Hypernet = None,
    k: Picks = None,
    memory_mb: Memory = None,
    option: Own = None,
    digits: Digits = "keep",
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Do not copy tokens that base or donor never learned.")
    ] = False,
    own_code: Annotated[
        bool, typer.Option("--allow-own-code", help="Run model code that lies in BASE or the donor; read it first.")
    ] = False,
    evaluate: Annotated[
        list[str] | None, typer.Option("--eval", help="[NAME=]text to score before and after; repeat for domains.")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Give BASE another tokenizer without training; every row's origin is recorded, and can be reverted."""
    from tokenry.transplant.materials import Materials, parsed_options
    from tokenry.transplant.verbs import Measured, transplant_folder

    quiet(no_progress)
    reading = {"limit": limit, "text": text_column}
    texts = _texts(data, reading)
    given = (texts, encoder, vectors, new_vectors, dictionary, parallel, hypernet, k, memory_mb, device)
    materials = Materials(*given, own=parsed_options(option or []), untrained=untrained, own_code=own_code)
    measured = Measured(domains(evaluate), reading) if evaluate else None
    options = {"method": method, "materials": materials, "digits": digits, "measured": measured, "seed": seed}
    show(transplant_folder(base, out, tokenizer=tokenizer, donor=donor, overwrite=overwrite, **options), json=as_json)


def _texts(data: list[str] | None, reading: dict) -> list[str] | None:
    if not data:
        return None
    from tokenry.core.tables import texts

    return list(texts(sources(data), **reading))


def domains(typed: list[str]) -> dict[str, Path | str]:
    """`NAME=PATH` or `PATH` as typed -> {name: source}; without a name the file's stem is the name.

    Raises:
        ValueError: an empty name or path, or one name twice.
    """
    found: dict[str, Path | str] = {}
    for entry in typed:
        name, equals, path = entry.partition("=")
        # A path may hold a = itself; what exists is taken as it is.
        if not equals or "://" in name or "/" in name or Path(entry).exists():
            name, path = Path(entry).name.split(".")[0], entry
        [source] = sources([path])
        if not name or name in found:
            raise ValueError(f"{entry!r} names {name!r}, which is empty or there already; need NAME=PATH, each once.")
        found[name] = source
    return found


@app.command(
    epilog="Example:  `tokenry transplant compare ./smollm2 --tokenizer ./german-tok --data de=pages.jsonl --out cmp`"
)
def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model to move: folder or hub name.")],
    data: Annotated[
        list[str], typer.Option("--data", help="[NAME=]text to train and score on; repeat: each is a domain.")
    ],
    tokenizer: Tokenizer = None,
    donor: Donor = None,
    general: Annotated[
        list[str] | None, typer.Option("--general", help="[NAME=]text that is scored only: what it should not forget.")
    ] = None,
    methods: Annotated[str, typer.Option(help="Names with commas between, or all.")] = "all",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each method.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, help="Orders of the training text; each method runs once for each.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Sequences in one step.")] = 8,
    length: Annotated[int, typer.Option(min=8, help="Tokens in one sequence.")] = 256,
    rate: Annotated[float | None, typer.Option(help="Learning rate of the body; default by the model's width.")] = None,
    encoder: Encoder = None,
    vectors: Vectors = None,
    new_vectors: NewVectors = None,
    dictionary: Dictionary = None,
    parallel: Parallel = None,
    hypernet: Hypernet = None,
    k: Picks = None,
    memory_mb: Memory = None,
    option: Own = None,
    heldout_bytes: Annotated[int, typer.Option(min=1000, help="Most held-out text scored of each domain.")] = 40_000,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    limit: LimitOption = None,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report; also makes it resumable.")] = None,
    overwrite: OverwriteFlag = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run of the same --out.")] = False,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Move BASE by every method, train each alike, and rank them by bits per byte afterwards, beside two controls."""
    from tokenry.transplant.comparing_methods import CompareConfig, Texts, compare_methods
    from tokenry.transplant.healing import HealConfig
    from tokenry.transplant.materials import Materials, parsed_options

    quiet(no_progress)
    given = (None, encoder, vectors, new_vectors, dictionary, parallel, hypernet, k, memory_mb, device)
    materials = Materials(*given, own=parsed_options(option or []))
    heal = HealConfig(steps=steps, batch=batch, length=length, rate=rate, seed=seed, dtype=dtype)
    names = None if methods == "all" else tuple(name.strip() for name in methods.split(",") if name.strip())
    config = CompareConfig(names, heal, seeds, heldout_bytes=heldout_bytes)
    reading = {"limit": limit, "text": text_column, "skip_bad": skip_bad}
    texts = Texts(domains(data), domains(general or []), reading)
    place = {"out": out, "overwrite": overwrite, "resume": resume, "command": command_line()}
    report = compare_methods(base, texts, tokenizer=tokenizer, donor=donor, materials=materials, config=config, **place)
    show(report, json=as_json)


@app.command(epilog="Example:  `tokenry transplant apply moved/tokenry_plan ./smollm2-chat --out ./chat-moved`")
def apply(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Plan folder that a transplant wrote.")],
    model: Annotated[Path, typer.Argument(help="A fine-tuned relative of the plan's base.")],
    out: Out,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Apply a recorded plan to another model with the same old vocabulary."""
    from tokenry.transplant.verbs import apply_folder

    show(apply_folder(plan, model, out, overwrite=overwrite), json=as_json)


@app.command(epilog="Example:  `tokenry transplant revert moved/ --out restored/`")
def revert(model: Folder, out: Out, overwrite: OverwriteFlag = False, as_json: JsonFlag = False) -> None:
    """Give a transplanted model its old tokenizer and old rows back."""
    from tokenry.transplant.undoing import revert as run

    show(run(model, out, overwrite=overwrite), json=as_json)


@app.command(epilog="Example:  `tokenry transplant verify moved/`")
def verify(model: Folder, as_json: JsonFlag = False) -> None:
    """Reopen a model folder and check rows, specials, chat template, round trip, finite weights."""
    from tokenry.transplant.verifying import verify as run

    report = run(model)
    show(report, json=as_json)
    if not report.facts.get("ok", False):
        raise typer.Exit(1)
