"""Constraints as a user names them: a regex, a JSON schema, words, a function; several together."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenry.core.choosing import resolve
from tokenry.decoding.constraints import AllOf, Checked, Constraint, WordList


def constraint_from(
    *,
    regex: object = None,
    schema: object = None,
    words: object = None,
    check: object = None,
    engine: str | None = None,
) -> Constraint:
    """One constraint that asks for everything given; see `constrained.constrained`.

    Raises:
        ValueError: nothing given, or something that cannot be read or met.
    """
    from tokenry.decoding.engines import json_schema
    from tokenry.decoding.regexes import Regex

    found: list[Constraint] = []
    if regex is not None:
        found.append(Regex(_plain(regex)))
    if words is not None:
        found.append(WordList(_words(words)))
    if schema is not None:
        found.append(json_schema(_schema(schema), engine=engine))
    elif engine is not None:
        raise ValueError(f"engine={engine!r} without a schema; engines read schemas. Leave it out, or give a schema.")
    if check is not None:
        found.append(_checked(check))
    if not found:
        raise ValueError(
            "no constraint; need regex, schema, words or check. On the command line: --with regex='[0-9]{4}'."
        )
    return found[0] if len(found) == 1 else AllOf(*found)


def _plain(regex: object) -> str:
    """The pattern; the command line may have read it as a number or a truth value."""
    return str(regex).lower() if isinstance(regex, bool) else str(regex)


def _words(words: object) -> list[str | bytes]:
    if isinstance(words, Sequence) and not isinstance(words, str | bytes):
        return list(words)
    text = _plain(words)
    if not text.startswith("@"):
        return text.split(",")
    lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line]


def _schema(schema: object) -> dict | bool:
    if isinstance(schema, Mapping | bool):
        return schema if isinstance(schema, bool) else dict(schema)
    text = str(schema)
    if not text.lstrip().startswith(("{", "[")):
        text = Path(text.removeprefix("@")).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the schema is no JSON: {error}. Give JSON text, or the name of a file of it.") from None


def _checked(check: object) -> Constraint:
    made = resolve(check, {}, kind="check of a text") if isinstance(check, str) else check
    if isinstance(made, Constraint):
        return made
    if hasattr(made, "complete_ok"):
        return Checked(made.complete_ok, getattr(made, "prefix_ok", None))
    return Checked(made)
