"""Take spans out of texts: personal data, words of a list, lines that a rule would drop; whatever a sidecar marks.

Scoring marks, masking writes new documents; the originals and the marks stay.

Paper: Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research (arXiv 2402.00159), whose
mixer replaces spans so, and whose replacements these are.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.corpora.engine import Engine, Mapped, open_engine, read_mapped
from tokenry.corpora.sidecars import columns_of
from tokenry.corpora.spans import replace_spans
from tokenry.corpora.units import Reading

__all__ = ["REPLACEMENTS", "mask", "mask_corpus", "mask_report", "read_replacements"]

REPLACEMENTS = {
    "pii.emails": "|||EMAIL_ADDRESS|||",
    "pii.phones": "|||PHONE_NUMBER|||",
    "pii.ips": "|||IP_ADDRESS|||",
    "pii.keys": "|||KEY|||",
}
"""What stands for each kind of personal data in a masked text."""


def mask(batch: pa.RecordBatch, replacements: Mapping[str, str] | None = None, *, least: float = 0.0) -> pa.RecordBatch:
    """Documents with the spans of some columns replaced in their text; all else stays.

    Works for any column of spans (`pii.emails`, `toxicity.spans`, `c4.dropped`, ...), read from a sidecar or just
    scored: the columns must stand in the batch.

    Args:
        batch: documents with the columns.
        replacements: column -> what stands for its spans; `REPLACEMENTS` by default.
        least: spans of a lower score are left alone.

    Raises:
        ValueError: a column is not there, or holds no spans, or its spans lie outside the text.
    """
    replacements = REPLACEMENTS if replacements is None else replacements
    for name in replacements:
        _check(name, {field.name: field for field in batch.schema})
    texts = batch.column("text").cast(pa.string())
    for name in replacements:
        _check_ends(name, batch.column(name), texts)
    cuts = [(batch.column(name), replacement) for name, replacement in replacements.items()]
    place = batch.schema.get_field_index("text")
    made = replace_spans(texts, cuts, least=least).cast(batch.schema.field(place).type)
    return batch.set_column(place, batch.schema.field(place), made)


def _check_ends(name: str, spans: pa.ListArray, texts: pa.StringArray) -> None:
    """Refuse spans that reach beyond their text: they were made for another one."""
    import pyarrow.compute as pc

    flat = spans.flatten()
    lengths = pc.fill_null(pc.utf8_length(texts), 0).take(pc.list_parent_indices(spans)).cast(pa.int64())
    begins, ends = (pc.struct_field(flat, field) for field in ("start", "end"))
    wrong = pc.or_(pc.greater(ends, lengths), pc.or_(pc.less(begins, 0), pc.less(ends, begins)))
    if pc.any(wrong).as_py():
        row = wrong.index(True).as_py()
        raise ValueError(
            f"{name}: a span from {begins[row]} to {ends[row]} in a text of {lengths[row]} characters; it was made for "
            "another text. Score the documents again."
        )


def mask_corpus(
    source: object,
    sidecars: Sequence[str | Path],
    out: str | Path,
    *,
    replacements: Mapping[str, str] | None = None,
    least: float = 0.0,
    engine: str | Engine = "embedded",
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> Mapped:
    """Write documents anew with the marked spans replaced: a folder of Parquet parts, same rows, same order.

    Args:
        source: the documents.
        sidecars: folders of signals that mark spans in them.
        out: the folder to make.
        replacements: column of spans -> what stands for them; personal data by default.
        least: spans of a lower score are left alone.
        engine: a name or an engine.
        reading: the text column and what happens to broken rows.

    Raises:
        ValueError: a column is in no sidecar, or holds no spans; a sidecar is of other documents.
    """
    replacements = dict(REPLACEMENTS if replacements is None else replacements)
    known = columns_of(sidecars)
    for name in replacements:
        _check(name, known)
    key = fingerprint("mask", 1, replacements, least, [read_mapped(folder).key for folder in sidecars])
    return open_engine(engine).map(
        source,
        functools.partial(_masked, replacements=replacements, least=least),
        out,
        key=key,
        reading=replace(reading, sidecars=tuple(map(str, sidecars)), signals=tuple(replacements)),
        label="mask",
    )


def _masked(batch: pa.RecordBatch, *, replacements: Mapping[str, str], least: float) -> pa.RecordBatch:
    return mask(batch, replacements, least=least).drop_columns(list(replacements))


def read_replacements(typed: Sequence[str] | None, presets: Sequence[str] | None = None) -> dict[str, str]:
    """What presets take out and COLUMN=TEXT as typed; personal data when nothing is named.

    Raises:
        ValueError: an entry has no column, a preset is not known.
    """
    from tokenry.corpora.presets import preset

    replacements: dict[str, str] = {}
    for name in presets or ():
        replacements |= preset(name).cut
    for entry in typed or ():
        name, equals, text = entry.partition("=")
        if not (name and equals):
            raise ValueError(f"{entry!r} after --replace; need COLUMN=TEXT, such as pii.emails=<mail>.")
        replacements[name] = text
    if presets and not replacements:
        raise ValueError(
            f"{', '.join(presets)}: no spans are taken out by it. Name columns: --replace pii.emails=<mail>."
        )
    return replacements or dict(REPLACEMENTS)


def mask_report(mapped: Mapped, replacements: Mapping[str, str]) -> Report:
    """What masking gave."""
    table = pa.table({"spans": list(replacements), "replaced by": list(replacements.values())})
    return Report(
        "corpus mask",
        "what was masked",
        facts={"documents": mapped.n_out, "broken rows": mapped.n_bad, "folder": str(mapped.folder)},
        tables={"replaced": table},
    )


def _check(name: str, fields: Mapping[str, pa.Field]) -> None:
    if name not in fields:
        raise ValueError(
            f"no column {name!r} to mask.{suggest(name, fields)} Score it first: tokenry corpus score --signals ..."
        )
    kind = fields[name].type
    if not (pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)):
        raise ValueError(f"{name!r} is of {kind}; only spans (begin, end, score) can be masked.")
