"""Read what a user types for a selection: rules, presets, budgets such as 5M, quotas such as web=2,books=1."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenry.corpora.presets import preset
from tokenry.corpora.select import Choice

if TYPE_CHECKING:
    from tokenry.corpora.selectors import Means

__all__ = ["amount", "choice_of", "counts_of", "cuts_of", "given", "means_of", "named_paths", "weights_of"]

_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}


def amount(text: str | float) -> float:
    """A number with an optional k, M, B (or G) or T: `5M` is five million.

    Raises:
        ValueError: it is none, or not above 0.
    """
    found = re.fullmatch(r"\s*([0-9][0-9_,]*\.?[0-9]*(?:e[0-9]+)?)\s*([kmgbt]?)\s*", str(text), re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is no amount; need a number such as 20000, 5M or 1.5B.")
    value = float(found[1].replace(",", "").replace("_", "")) * _SUFFIXES[found[2].lower()]
    if value <= 0:
        raise ValueError(f"an amount of {text}; need more than 0.")
    return value


def weights_of(text: str) -> dict[str, float]:
    """Names with weights, `web=2,books=1` or `web=3B,books=500M`, or those of a mixture.json that a search has written.

    Raises:
        ValueError: a member has no name or no number, or a name comes twice.
    """
    if text.endswith(".json"):
        from tokenry.corpora.mixing_report import read_weights

        return read_weights(text)
    weights: dict[str, float] = {}
    for member in text.split(","):
        name, equals, number = member.rpartition("=")
        try:
            weight = float(number) if number[-1:] not in tuple("kmgbtKMGBT") else amount(number)
        except ValueError:
            weight = float("nan")
        if not equals or not name.strip() or weight != weight:
            raise ValueError(f"{member.strip()!r} in {text!r} is no weight; need name=number, such as web=2,books=1.")
        if name.strip() in weights:
            raise ValueError(f"two weights for {name.strip()!r} in {text!r}; give one.")
        weights[name.strip()] = weight
    return weights


def counts_of(text: str) -> tuple[int, ...]:
    """Whole numbers above 0, `64,32,16`.

    Raises:
        ValueError: a member is none.
    """
    members = text.split(",")
    if not all(re.fullmatch(r"\s*0*[1-9][0-9]{0,8}\s*", member) for member in members):
        raise ValueError(f"{text!r} are no counts; need whole numbers above 0 with commas, such as 64,32,16.")
    return tuple(map(int, members))


def named_paths(members: Sequence[str], option: str) -> dict[str, Path]:
    """Names with paths, `quiz=quiz.jsonl`.

    Args:
        members: as typed, each name once.
        option: what they were typed after, for the message.

    Raises:
        ValueError: a member has no name or no path, or a name comes twice.
    """
    paths: dict[str, Path] = {}
    for member in members:
        name, equals, path = member.partition("=")
        if not (name and equals and path):
            raise ValueError(f"{member!r} after {option}; need NAME=FILE, such as quiz=quiz.jsonl.")
        if name in paths:
            raise ValueError(f"two files for {name!r} after {option}; give each name once (a folder holds several).")
        paths[name] = Path(path)
    return paths


def cuts_of(members: Sequence[str], presets: Sequence[str] = ()) -> dict[str, str]:
    """Columns of spans with what stands in their place.

    Args:
        members: as typed, `dedup.paragraphs.spans` or `pii.emails=<mail>`; they win over those of presets.
        presets: names of presets whose spans are cut, too.

    Raises:
        ValueError: there is no such preset.
    """
    cuts = {column: mark for name in presets for column, mark in preset(name).cut.items()}
    pairs = [member.partition("=") for member in members]
    return cuts | {column.strip(): mark for column, _, mark in pairs}


def given(value: object, what: str) -> object:
    """The value, which must be there.

    Raises:
        ValueError: it is not.
    """
    if not value:
        raise ValueError(f"no {what}. Give it, or see `tokenry corpus select --help`.")
    return value


def means_of(targets: Sequence[Path] | None, numbers: Sequence[str] | None, **means: object) -> "Means":
    """What a selector gets: documents of the target, numbers typed as NAME=VALUE, the other fields of `Means`.

    Raises:
        ValueError: a number has no name or value.
    """
    from tokenry.corpora.selectors import Means

    options: dict[str, float | str] = {}
    for typed in numbers or ():
        name, equals, value = typed.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{typed!r} after --set; need NAME=VALUE, such as buckets=10000.")
        if name.strip() in options:
            raise ValueError(f"two values for {name.strip()!r} after --set; give one.")
        try:
            options[name.strip()] = amount(value)
        except ValueError:
            options[name.strip()] = value
    return Means(targets=tuple(str(one) for one in targets or ()), options=options, **means)


def choice_of(
    *,
    where: Sequence[str] = (),
    presets: Sequence[str] = (),
    budget: str | None = None,
    quota: str = "proportional",
    cap: str | None = None,
    **options: object,
) -> Choice:
    """The choice that was typed.

    Args:
        where: rules; each is its own name.
        presets: names of `presets.PRESETS`; their rules come first.
        budget, cap: amounts as `amount` reads them.
        quota: "proportional", "equal", or weights as `weights_of` reads them.
        options: the other fields of `Choice`.

    Raises:
        ValueError: something cannot be read, or there is no such preset.
    """
    rules: dict[str, str] = {}
    for name in presets:
        # Two presets may call a reason alike; neither rule may replace the other.
        rules |= {f"{name}: {reason}": rule for reason, rule in preset(name).rules.items()}
    rules |= {rule: rule for rule in where}
    shares: str | Mapping[str, float] = weights_of(quota) if "=" in quota or quota.endswith(".json") else quota
    return Choice(
        rules=rules,
        budget=None if budget is None else amount(budget),
        cap=None if cap is None else amount(cap),
        quota=shares,
        **options,
    )
