"""What a method that makes new rows is given: text, vectors, a dictionary, an encoder; by the names it takes.

The names are a closed list (`FLAGS`); a method takes one by naming it among its keyword-only arguments.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import resolve
from tokenry.core.report import Report

FLAGS = {
    "texts": "--data",
    "encoder": "--encoder",
    "vectors": "--vectors",
    "new_vectors": "--new-vectors",
    "dictionary": "--dictionary",
    "parallel": "--parallel",
    "hypernet": "--hypernet",
    "k": "--k",
    "memory_mb": "--memory-mb",
}
"""Argument of a method -> the option that fills it."""


@dataclass(frozen=True)
class Materials:
    """Everything given for the methods; each takes what it names, None is not given."""

    texts: list[str] | None = None
    """text of the language or domain the model moves to."""
    encoder: object = None
    vectors: object = None
    """word vectors of the old language."""
    new_vectors: object = None
    dictionary: object = None
    parallel: object = None
    hypernet: object = None
    k: int | None = None
    memory_mb: int | None = None
    device: str | None = None
    """passed where a method takes it, never refused: the models run there too."""
    own: dict = field(default_factory=dict)
    """options of one method, by its own names."""
    untrained: bool = False
    """leave out tokens that the base or the donor never learned; no method takes it, the door does."""
    own_code: bool = False
    """run model code that lies in the folders of base and donor."""

    def given(self) -> dict:
        """What is not None, without `device` and the method's own options."""
        return {name: getattr(self, name) for name in FLAGS if getattr(self, name) is not None}

    def sources(self) -> dict:
        """Paths and numbers, for a fingerprint; text is left to its source."""
        kept = {name: value for name, value in self.given().items() if name != "texts"}
        return {**kept, **self.own}


def options_for(method: str | Callable, given: Materials, *, refuse: bool = True) -> dict:
    """The keyword arguments for a method, by its signature.

    Args:
        method: what `plan` takes.
        given: what there is.
        refuse: whether material that the method does not take is an error (one method was asked), or is left for
            others (several are compared; `given.own` then goes to those that have such an option).

    Raises:
        ValueError: material the method does not take, or a required one that is not there.
    """
    from tokenry.transplant import METHODS

    maker = resolve(method, METHODS, kind="transplant method")
    parameters = inspect.signature(maker).parameters.values()
    takes = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    there = given.given()
    strangers = [] if anything else [name for name in there if name not in takes]
    if strangers and refuse:
        known = ", ".join(FLAGS[name] for name in takes if name in FLAGS) or "none of them"
        raise ValueError(
            f"Method {method!r} does not take {' or '.join(FLAGS[name] for name in strangers)}; of the materials it "
            f"takes {known}. Leave the rest away, or see what each method takes: tokenry transplant --method list."
        )
    own = given.own if refuse or anything else {name: value for name, value in given.own.items() if name in takes}
    options = {name: value for name, value in there.items() if name not in strangers} | own
    if given.device is not None and "device" in takes:
        options.setdefault("device", given.device)
    for name, parameter in takes.items():
        if name in FLAGS and parameter.default is parameter.empty and name not in options:
            raise ValueError(
                f"Method {method!r} needs {name}, which was not given. Give it with {FLAGS[name]}, or take --method "
                "pieces, which needs nothing."
            )
    return options


def parsed_options(typed: list[str]) -> dict:
    """`key=value` as typed -> {key: value}; a value that reads as a number, true, false or null is one.

    Raises:
        ValueError: no `=`, a key twice, a key of the closed list, or a value that is no single number or word.
    """
    found: dict = {}
    for entry in typed:
        key, equals, text = entry.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key.isidentifier():
            raise ValueError(f"--option {entry!r} is no key=value; need for example --option norm=match.")
        if key in FLAGS or key == "device":
            raise ValueError(f"--option {key}: give it with {FLAGS.get(key, '--device')} instead.")
        if key in found:
            raise ValueError(f"--option {key} was given twice; give it once.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if isinstance(value, (list, dict)):
            raise ValueError(f"--option {entry!r}: need one number, true, false, null or a word after the =.")
        found[key] = value
    return found


def list_methods() -> Report:
    """Every method with its first sentence, what it takes, and what it says when it is given nothing."""
    from tokenry.transplant import METHODS

    gap = _empty_gap()
    rows = []
    for name in METHODS:
        try:
            maker = resolve(name, METHODS, kind="transplant method")
        except ImportError as error:
            rows.append({"method": name, "a new row": f"not here: {error}", "takes": "", "needs": ""})
            continue
        parameters = inspect.signature(maker).parameters
        first = " ".join((inspect.getdoc(maker) or "").split("\n\n")[0].split())
        takes = ", ".join(FLAGS[key] for key in parameters if key in FLAGS)
        rows.append({"method": name, "a new row": first, "takes": takes, "needs": _refusal(maker, gap)})
    report = Report("transplant-methods", "Ways to make the rows of new tokens")
    # Two tables: a printed one ends after twenty rows, and a list that hides names is none.
    report.tables["methods"] = pa.Table.from_pylist([row for row in rows if not row["needs"]])
    report.tables["methods that need material"] = pa.Table.from_pylist([row for row in rows if row["needs"]])
    report.notes = [
        "Your own: --method pkg.module:function or ./file.py:function, a function of a Gap that returns Rows.",
        "A method's own options: --option key=value; its docstring lists them.",
    ]
    return report


def _refusal(maker: Callable, gap: object) -> str:
    """What a method that is given nothing asks for; empty where it needs nothing.

    Asked of the method itself, so that the list cannot drift from the code.
    """
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            maker(gap)
    except TypeError:
        return "see takes"
    except (ValueError, ImportError) as refused:
        return str(refused).split(". ")[0]
    return ""


def _empty_gap() -> object:
    """One token to make, no donor: what shows which methods need more."""
    from tokenry.core.vocab import Vocab
    from tokenry.data import demo_model
    from tokenry.transplant.matching import match
    from tokenry.transplant.planning import Gap

    vocab = Vocab.open(demo_model())
    last = vocab.size - 1
    rows = np.random.default_rng(0).standard_normal((vocab.size, 8)).astype(np.float32)
    return Gap(vocab, vocab, match(vocab, vocab), np.array([last]), [[last - 1, last - 2]], None, None, rows, None, 0)


def record(given: Materials) -> dict:
    """What was given as plain values, for `run.json`; text by its number of documents."""
    kept = {name: value for name, value in asdict(given).items() if value not in (None, {}, False)}
    if given.texts is not None:
        kept["texts"] = f"{len(given.texts)} documents"
    return kept
