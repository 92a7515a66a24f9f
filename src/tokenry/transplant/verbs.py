"""What the verb `transplant` does with folders."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.report import Headline, Report
from tokenry.core.runs import write_run
from tokenry.core.vocab import Vocab
from tokenry.transplant.materials import Materials, options_for, record

DIGITS = ("keep", "decompose")
STEP_ZERO = (
    "Bits per byte right after a move do not rank the methods: the row that says least can score best before any "
    "training. Compare after equal training: tokenry transplant compare."
)


@dataclass(frozen=True)
class Target:
    """Which tokenizer a model gets, and the donor rows where there are some."""

    vocab: Vocab
    donor: np.ndarray | None = None
    donor_head: np.ndarray | None = None

    def rows(self) -> dict:
        """For `plan`."""
        return {"donor": self.donor, "donor_head": self.donor_head}

    @classmethod
    def open(cls, tokenizer: str | None, donor: str | None, *, own_code: bool = False) -> "Target":
        """The tokenizer of `tokenizer`, or of the model `donor`, whose rows are taken too.

        Raises:
            ValueError: neither; or both, and the donor has another vocabulary.
        """
        from tokenry.models.opening import model_folder
        from tokenry.transplant.matching import rows_fingerprint

        if tokenizer is None and donor is None:
            raise ValueError(
                "give --tokenizer T (the tokenizer it should have), or --donor M (a model that has it), or both."
            )
        vocab = Vocab.open(tokenizer or donor)
        if donor is None:
            return cls(vocab)
        if tokenizer is not None and rows_fingerprint(Vocab.open(donor)) != rows_fingerprint(vocab):
            raise ValueError(
                f"the donor {donor} does not have the tokens of {tokenizer}; a donor's rows stand for its own tokens. "
                "Give a donor that was trained with this tokenizer, or --donor alone to take its tokenizer."
            )
        given = model_rows(model_folder(donor), own_code=own_code)
        return cls(vocab, given["base"], given["base_head"])


@dataclass(frozen=True)
class Measured:
    """Text to score a model on before and after."""

    domains: dict[str, object] = field(default_factory=dict)
    """name -> what `core.tables.texts` takes."""
    reading: dict = field(default_factory=dict)
    """`limit`, `text` of the reader."""
    most_bytes: int = 100_000
    segment_bytes: int = 512

    def texts(self) -> dict[str, list[str]]:
        """name -> documents.

        Raises:
            ValueError: a domain without text.
        """
        from tokenry.core.tables import texts
        from tokenry.transplant.documents import take

        found = {}
        for name, source in self.domains.items():
            found[name] = take([t for t in texts(source, **self.reading) if t.strip()], self.most_bytes)
            if not found[name]:
                raise ValueError(f"{source} holds no text; need at least one document to score.")
        return found


def transplant_folder(
    base: str,
    out: Path,
    *,
    tokenizer: str | None = None,
    donor: str | None = None,
    method: str = "pieces",
    materials: Materials | None = None,
    digits: str = "keep",
    measured: Measured | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Report:
    """Give the model in `base` another tokenizer, streaming its files, and write the result to `out`.

    Args:
        base: model folder or hub name.
        tokenizer: what `Vocab.open` takes; or
        donor: a model folder or hub name whose tokenizer is taken; its rows serve the methods that need a donor.
        method, seed: as for `plan`.
        materials: what the method is given, by its signature.
        digits: "keep" what the method makes, or "decompose": rows of numbers from the old digit pieces.
        measured: text to score before and after the move.

    Returns:
        The Report of the move; with `measured` also bits per byte before and after, by domain.

    Raises:
        ValueError: neither tokenizer nor donor; material the method does not take; what the method refuses.
    """
    from tokenry.models.opening import model_folder
    from tokenry.transplant.digits import repair_digits
    from tokenry.transplant.planning import plan
    from tokenry.transplant.undoing import apply_plan

    if digits not in DIGITS:
        raise ValueError(f"digits={digits!r}; need 'keep' or 'decompose'.")
    materials = materials or Materials()
    options = options_for(method, materials)
    if Path(out).exists() and not overwrite:
        raise FileExistsError(f"{out} exists already. Give another folder, or replace it with --overwrite.")
    own_code = materials.own_code
    target, folder = Target.open(tokenizer, donor, own_code=own_code), model_folder(base)
    texts = measured.texts() if measured is not None else {}
    before = _scored(folder, texts, measured, materials.device)
    old = Vocab.open(folder)
    if materials.untrained:
        options |= {"untrained": _untrained(old, folder, target.vocab, donor)}
    rows = model_rows(folder, own_code=own_code) | target.rows()
    made = plan(old, target.vocab, method=method, seed=seed, **rows, **options)
    new = target.vocab
    del rows, target  # the plan holds all it needs; their tables would lie beside those that are read to be moved
    made = repair_digits(made, old, new) if digits == "decompose" else made
    report = apply_plan(folder, made, new, out=out, overwrite=overwrite, own_code=own_code)
    after = _scored(Path(out), texts, measured, materials.device)
    _tell(report, before, after)
    arguments = {"base": base, "tokenizer": tokenizer, "donor": donor, "method": method, "digits": digits}
    arguments |= record(materials)
    write_run(out, verb="transplant", arguments=arguments, seed=seed, inputs=[*filter(None, (base, tokenizer, donor))])
    return report


def _untrained(old: Vocab, folder: Path, new: Vocab, donor: str | None) -> tuple:
    """Ids that the base, and the donor where there is one, never learned."""
    from tokenry.models.opening import model_folder
    from tokenry.transplant.untrained import untrained_ids

    theirs = np.zeros(0, dtype=np.int64) if donor is None else untrained_ids(new, model_folder(donor))
    return untrained_ids(old, folder), theirs


def _scored(folder: Path, texts: dict, measured: Measured | None, device: str | None) -> dict:
    """Scores by domain; the model is dropped again before rows are made."""
    if not texts:
        return {}
    from tokenry.models.lm import LM
    from tokenry.transplant.scoring import measure

    lm = LM.open(folder, device=device)
    return {name: measure(lm, some, segment_bytes=measured.segment_bytes) for name, some in texts.items()}


def _tell(report: Report, before: dict, after: dict) -> None:
    """Bits per byte before and after into the report, the change paired over documents."""
    rows = []
    for name, scores in before.items():
        first, last, change = scores.bits_per_byte(), after[name].bits_per_byte(), after[name].change_from(scores)
        report.facts |= {
            f"bits_per_byte.{name}.before": first,
            f"bits_per_byte.{name}.after": last,
            f"bits_per_byte.{name}.change": change,
        }
        report.headline.append(Headline(f"Bits per byte on {name}", first, last, "bits/byte", "lower", change))
        row = {"text": name, "units": len(scores.nats)}
        for when, found in (("before", scores), ("after", after[name])):
            bits = found.bits_per_byte()
            row |= {when: bits.value, f"{when}_low": bits.low, f"{when}_high": bits.high}
            row[f"bytes_per_token_{when}"] = found.bytes_per_token().value
        rows.append(row)
    if rows:
        report.tables["bits per byte"] = pa.Table.from_pylist(rows)
        report.notes.append(STEP_ZERO)


def model_rows(folder: Path, *, own_code: bool = False) -> dict:
    """Embedding and head rows of a checkpoint as float32; the head is None when both share one matrix."""
    from tokenry.models.files import embedding_names, read_tensor

    names = embedding_names(folder, own_code=own_code)
    base = read_tensor(folder, names.input).float().numpy()
    head = None if names.is_tied or names.head is None else read_tensor(folder, names.head).float().numpy()
    return {"base": base, "base_head": head}


def apply_folder(plan_folder: Path, model: Path, out: Path, *, overwrite: bool = False) -> Report:
    """Apply the plan that another transplant recorded to a relative of its base."""
    from tokenry.transplant.manifest import load_plan
    from tokenry.transplant.manifest import plan_folder as find_plan
    from tokenry.transplant.undoing import apply_plan

    place = find_plan(plan_folder)
    return apply_plan(model, load_plan(place), Vocab.open(place.parent), out=out, overwrite=overwrite)
