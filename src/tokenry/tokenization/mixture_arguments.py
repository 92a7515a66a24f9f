"""What is typed after `tokenry tokenizer mixture`: categories, groups, and the run record beside the report.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import time
from collections.abc import Sequence
from pathlib import Path

from tokenry.core.report import Report


def mixture_run(
    tokenizer: str,
    corpora: Sequence[str],
    *,
    groups: Sequence[str] = (),
    out: Path | None = None,
    reading: dict | None = None,
    **options: object,
) -> Report:
    """`infer_mixture` on arguments as they are typed.

    Args:
        tokenizer: path or hub name.
        corpora: "name=path" each, or the path of one table with a column `source`.
        groups: "name=a+b" each.
        out: folder the report will be saved in; it gets the run record.
        reading: `text`, `limit`, `skip_bad`.
        options: the other fields of `MixtureOptions`; `skip_merges` may be "none".

    Raises:
        ValueError: an argument of another form; the errors of `infer_mixture`.
    """  # fmt: skip
    from tokenry.core.runs import write_run
    from tokenry.tokenization.mixture import infer_mixture

    started = time.time()
    if options.get("skip_merges") == "none":
        options["skip_merges"] = None
    sources = parse_corpora(corpora)
    report = infer_mixture(tokenizer, sources, groups=parse_groups(groups), **(reading or {}), **options)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        inputs = [tokenizer, *([str(path) for _, path in sources] if isinstance(sources, list) else [str(sources)])]
        arguments = {"corpora": list(corpora), "groups": list(groups), **(reading or {}), **options}
        write_run(out, verb="tokenizer mixture", arguments=arguments, seed=options.get("seed", 0), inputs=inputs,
                  started=started)  # fmt: skip
    return report


def parse_corpora(corpora: Sequence[str]) -> list[tuple[str, object]] | object:
    """Categories as (name, path), or the path of the one table that names them in a column.

    Raises:
        ValueError: an entry without a name among several, or without a path.
    """
    named = [_split(entry) for entry in corpora]
    if len(named) == 1 and named[0][0] is None:
        return named[0][1]
    nameless = next((path for name, path in named if not name), None)
    if nameless is not None:
        raise ValueError(
            f"--corpus {nameless} has no name; need name=path for each category (--corpus de={nameless}), or one table "
            "alone whose column `source` names the category of each document."
        )
    return named


def _split(entry: str) -> tuple[str | None, object]:
    name, sign, path = entry.partition("=")
    if not sign or Path(entry).exists():
        name, path = None, entry
    if not path:
        raise ValueError(f"--corpus {entry!r} names no file (an unset variable?); need name=path, e.g. de=de.jsonl.")
    return name, path if "://" in path else Path(path)


def parse_groups(groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Roll-ups as name -> categories.

    Raises:
        ValueError: for another form than "name=a+b", or a name twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in groups:
        name, sign, members = entry.partition("=")
        parts = tuple(part for part in members.split("+") if part)
        if not sign or not name or not parts or name in found:
            raise ValueError(f"--groups {entry!r}; need name=a+b, each name once, where a and b are categories.")
        found[name] = parts
    return found
