"""One list of selectors, one way to use them: measure what documents are worth, then keep the best within a budget.

A selector is a utility (columns of a sidecar) and the mechanism that its paper puts upon it (rules, best first,
sampled, noisy, capped), under the groups of the survey. `measure` writes the columns, `select_by` also decides; whoever
wants another mechanism measures once and writes the score by hand.

Paper: A Survey on Data Selection for Language Models (arXiv 2402.16827), sections 2 and 3.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenry.core.choosing import resolve, suggest
from tokenry.core.hashing import fingerprint
from tokenry.core.runs import check_folder, log
from tokenry.corpora import SELECTORS
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.select import Choice, Selection, check_choice, select
from tokenry.corpora.selector_jobs import Job, Means, finished, stamps
from tokenry.corpora.units import Reading

__all__ = [
    "GROUPS",
    "Job",
    "Means",
    "Selector",
    "measure",
    "open_selector",
    "select_by",
]

GROUPS = (
    "baseline", "heuristics", "data quality", "domain-specific", "deduplication", "diversification", "training signal",
)  # fmt: skip
"""Groups of the survey; "baseline" is what all must beat, "diversification" its other aim, "training signal" what small
models say in training. Language, toxicity and several languages are signals with rules; mixing has its own verbs."""


@dataclass(frozen=True)
class Selector:
    """A way to select.

    Attributes:
        name: what a user types.
        group: one of `GROUPS`.
        aim: "distribution matching", "diversification", "quality" or "none".
        says: what it does, in a line.
        paper: where it is from.
        needs: fields of `Means`; "model|reference" wants one of them.
        options: numbers it takes, with their defaults.
        cost: what measuring takes.
        measure: writes the columns; None where there is nothing to measure.
        choice: fields of `select.Choice` that its paper puts upon the columns.
    """

    name: str
    group: str
    aim: str
    says: str
    paper: str
    cost: str
    measure: Callable[["Job"], Mapped] | None = None
    choice: Mapping[str, object] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    options: Mapping[str, float | str | None] = field(default_factory=dict)

    def check(self, means: Means) -> None:
        """Refuse to begin without what it needs.

        Raises:
            ValueError: something is missing, or an option is unknown.
        """
        for need in self.needs:
            names = need.split("|")
            if not any(getattr(means, name) for name in names):
                typed = " or ".join({"targets": "--target"}.get(name, f"--{name}") for name in names)
                raise ValueError(f"the selector {self.name!r} needs {typed}. {self.says}.")
        for name in means.options:
            if name not in self.options:
                known = ", ".join(f"{one}={value}" for one, value in self.options.items()) or "none"
                raise ValueError(
                    f"the selector {self.name!r} takes no {name!r}.{suggest(name, self.options)} It takes: {known}."
                )


def open_selector(name: str) -> Selector:
    """The selector of this name: one of `SELECTORS`, a preset of rules, or your own `module:object`.

    Raises:
        ValueError: there is none (the nearest is given).
    """
    from tokenry.corpora.presets import PRESETS

    if name in PRESETS:
        return _of_preset(name)
    if name not in SELECTORS and ":" not in name:
        known = [*SELECTORS, *PRESETS]
        raise ValueError(
            f"no selector is called {name!r}.{suggest(name, known)} `tokenry corpus select --method list` shows them: "
            f"{', '.join(SELECTORS)}; and the presets of rules."
        )
    found = resolve(name, SELECTORS, kind="selector")
    if not isinstance(found, Selector):
        raise ValueError(f"{name} is a {type(found).__name__}; need a tokenry.corpora.selectors.Selector.")
    return found


def measure(
    source: object,
    method: str | Selector,
    out: str | Path,
    *,
    means: Means = Means(),  # noqa: B008 - frozen
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Mapped | None:
    """Write the columns of a selector as a sidecar; nothing is decided.

    Args:
        source: documents, as `core.tables.stream` reads them.
        method: a name or a selector.
        out: the folder of the sidecar. One that this very measuring left before is taken as it is.
        means: target, models, numbers.
        reading, engine: as everywhere.

    Returns:
        The sidecar, or None where the selector needs no columns.

    Raises:
        ValueError: a need is not met. FileExistsError: something else is at `out`.
    """
    from tokenry.corpora.engine import read_mapped

    selector = open_selector(method) if isinstance(method, str) else method
    selector.check(means)
    if selector.measure is None:
        return None
    target = Path(out)
    check_folder(target.parent)
    options = {**selector.options, **means.options}
    key = fingerprint("selector", 2, selector.name, options, means.key(), reading.text, stamps(source))
    job = Job(source, target, means, reading, open_engine(engine), key, options)
    if target.exists():
        if read_mapped(target).key != key:
            raise FileExistsError(
                f"{out} exists already and was measured with other settings or on other documents. Give another "
                "folder, or remove it."
            )
        log(f"{target} is there already")
        made = read_mapped(target)
    else:
        for name in ("model", "embedding"):
            if (left := Path(f"{out}.{name}")).exists():
                raise FileExistsError(f"{left} exists already. Give another --out than {out}, or remove it.")
        made = selector.measure(job)
    job.show()
    return made


def select_by(
    source: object,
    out: str | Path,
    *,
    method: str | Selector | None,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    means: Means = Means(),  # noqa: B008 - frozen
    sidecars: Sequence[str | Path] = (),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
    cut: Mapping[str, str] | None = None,
    write: bool = True,
) -> Selection:
    """Measure what documents are worth to a selector, then keep them as it says, within the budget of `choice`.

    Args:
        source, out, sidecars, reading, engine, cut, write: as `select.select`. The columns go to `OUT.utility`.
        method: a name or a selector; None only decides by `choice`.
        choice: budget, further rules, quotas. A `score` of yours stands instead of the selector's score and mechanism.
        means: target, models, numbers.
    """
    if method is None:
        return select(
            source, out, choice=choice, sidecars=sidecars, reading=reading, engine=engine, cut=cut, write=write
        )
    selector = open_selector(method) if isinstance(method, str) else method
    selector.check(means)
    chosen = choice_by(selector, choice)
    check_choice(chosen)
    if write and Path(out).exists():  # before the measuring, which may take hours
        raise FileExistsError(f"{out} exists already. Give another --out.")
    engine = open_engine(engine)
    measured = measure(source, selector, f"{out}.utility", means=means, reading=reading, engine=engine)
    folders = [*sidecars, *([measured.folder] if measured is not None else [])]
    cuts = {**_cuts(selector), **(cut or {})}
    made = select(source, out, choice=chosen, sidecars=folders, reading=reading, engine=engine, cut=cuts, write=write)
    made.report.facts = {"method": selector.name, "group": selector.group, **made.report.facts}
    return made


def choice_by(selector: Selector, choice: Choice) -> Choice:
    """A choice with what the selector puts upon it where the user says nothing.

    Raises:
        ValueError: the selector ranks documents, and no budget is given.
    """
    own = dict(selector.choice)
    rules = {**own.pop("rules", {}), **choice.rules}
    given = [name for name in ("score", "temperature", "noisy") if getattr(choice, name) is not None]
    if given:  # one mechanism stands for another
        gone = ("temperature", "noisy", *(["score"] if "score" in given else []))
        own = {name: value for name, value in own.items() if name not in gone}
    said = {name: value for name, value in own.items() if getattr(choice, name) == getattr(Choice(), name)}
    made = replace(choice, rules=rules, **said)
    bounded = any(one is not None for one in (made.budget, made.share, made.noisy, made.cap))
    if not bounded and (made.score is not None or not rules):
        raise ValueError(f"the selector {selector.name!r} ranks documents; say how much to keep (--budget or --share).")
    if selector.choice.get("per") and made.cap is None:
        raise ValueError(f"the selector {selector.name!r} bounds each {made.per}; say how much of each (--cap).")
    return made


def _of_preset(name: str) -> Selector:
    from tokenry.corpora.presets import preset

    one = preset(name)
    scored = functools.partial(_scored, families=one.families)
    return Selector(name, "heuristics", "quality", one.says, one.paper, "one pass, no model", scored,
                    {"rules": dict(one.rules)})  # fmt: skip


def _cuts(selector: Selector) -> dict[str, str]:
    from tokenry.corpora.presets import PRESETS, preset

    return dict(preset(selector.name).cut) if selector.name in PRESETS else {}


def _scored(job: Job, *, families: Sequence[str]) -> Mapped:
    """The signals that a preset looks at."""
    from tokenry.corpora.sidecars import read_signals
    from tokenry.corpora.signals import score_corpus

    hidden = job.hidden("signals")
    made = score_corpus(job.source, families, hidden, engine=job.engine, reading=job.reading)
    table = read_signals(hidden)
    columns = {name: table.column(name) for name in table.column_names if name != "id"}
    return finished(job, made, columns, hidden)
