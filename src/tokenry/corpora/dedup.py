"""Find documents that are there more than once: word for word, by address, or nearly (MinHash); keep one of each.

Nothing is removed here: the result is a sidecar that names, for every duplicate, the document that is kept for it. One
pass over the text leaves a few hashes a document; the rest is done over those numbers. Hashes of an earlier corpus can
be given, so that a new crawl is compared with all that is there already.

Papers: RedPajama (arXiv 2411.12372), section 4 and appendix: exact and fuzzy deduplication; Dolma (arXiv 2402.00159),
section 5; On the resemblance and containment of documents (Broder, 1997).
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import MinHash, fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import atomic_write, check_folder, describe_input, log, write_run
from tokenry.corpora.dedup_clusters import clustered, duplicates_report, ranks, representatives
from tokenry.corpora.engine import Engine, Mapped, open_engine, read_mapped
from tokenry.corpora.sidecars import write_sidecar
from tokenry.corpora.units import Reading

__all__ = ["METHODS", "Duplicates", "Settings", "dedup", "normalised_url"]

# Axes: D documents, E pairs, B bands.

METHODS = ("exact", "url", "minhash")
OWN = ("paragraphs", "substring")
_STAMP = "inputs.txt"  # beside the hashes: what they were made from
_UNSPACED = 24  # characters a word from which on a text counts as written without spaces
_TRACKING = ("utm_", "fbclid", "gclid", "mc_cid", "mc_eid", "ref_src")


@dataclass(frozen=True)
class Settings:
    """How duplicates are found.

    Attributes:
        method: "exact" (the text, see `strict`), "url" (the column `url`), "minhash" (near duplicates).
        strict: exact: byte for byte; else lower case, punctuation and white space do not count.
        url: the column of addresses.
        width: minhash: words in a shingle; texts written without spaces take twice as many characters.
        bands: minhash: a pair that agrees in one band is a pair.
        rows: values in a band.
        verify: minhash: drop pairs whose estimated similarity is below this; 0 keeps all.
        seed: of the permutations.
    """

    method: str = "minhash"
    strict: bool = False
    url: str = "url"
    width: int = 5
    bands: int = 14
    rows: int = 8
    verify: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(
                f"no way {self.method!r} to find duplicates.{suggest(self.method, (*METHODS, *OWN))} Need one of "
                f"{', '.join(METHODS)}; {' and '.join(OWN)} have functions of their own (dedup_paragraphs, "
                "dedup_substrings)."
            )
        if min(self.width, self.bands, self.rows) < 1 or self.bands * self.rows > 4096:
            raise ValueError(
                f"width={self.width}, bands={self.bands}, rows={self.rows}; need at least 1 each, and at most 4,096 "
                "values in all."
            )
        if not 0 <= self.verify <= 1:
            raise ValueError(f"verify={self.verify}; need a similarity from 0 to 1.")

    def key(self) -> str:
        """Fingerprint of what decides the hashes: those of equal keys can be compared."""
        own = {
            "exact": (self.strict,), "url": (self.url,),
            "minhash": (self.width, self.bands, self.rows, self.verify > 0, self.seed),
        }[self.method]  # fmt: skip
        return fingerprint("dedup", 1, self.method, list(own))


@dataclass(frozen=True)
class Duplicates:
    """What was found.

    Attributes:
        decisions: the sidecar: `dedup.METHOD.duplicate_of` (null for what is kept) and `dedup.METHOD.cluster_size`.
        index: the hashes, for later corpora.
        report: counts.
    """

    decisions: Mapped
    index: Mapped
    report: Report


def dedup(
    source: object,
    out: str | Path,
    *,
    settings: Settings = Settings(),
    keep: str = "first",
    against: Sequence[str | Path] = (),
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Duplicates:
    """Find duplicates and name the one that is kept.

    Args:
        source: documents, as `core.tables.stream` reads them.
        out: the folder of the sidecar; the hashes go beside it, into `OUT.index`.
        settings: the method.
        keep: of each cluster the "first" in order, the "longest", or the one with the highest value of a column of
            `reading.sidecars` (its name).
        against: indexes of earlier corpora (`OUT.index`), made with the same settings. Their documents come before all
            of these and are never dropped.
        reading: how the documents are read.
        engine: an engine or its name.

    Raises:
        ValueError: an index of other settings; no column `settings.url` or `keep`. FileExistsError: an output is there.
    """
    engine, target, index_folder = open_engine(engine), Path(out), Path(f"{out}.index")
    check_folder(target.parent)
    if target.exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    earlier = [_opened(folder, settings) for folder in against]
    index = _indexed(engine, source, index_folder, settings, reading)
    ids, first_D, sizes_D, n_pairs, n_checked = clustered([*earlier, index], settings)
    n_before = sum(one.n_out for one in earlier)
    rank_D = ranks(keep, sizes_D, n_before=n_before, reading=reading)
    kept_D = representatives(first_D, rank_D)
    mine = np.arange(n_before, len(kept_D))
    is_duplicate_D = kept_D[mine] != mine
    names = _plain(ids.take(pa.array(kept_D[mine], mask=~is_duplicate_D)))
    cluster_D = np.bincount(first_D, minlength=len(first_D))[first_D]
    columns = {
        f"dedup.{settings.method}.duplicate_of": names,
        f"dedup.{settings.method}.cluster_size": pa.array(cluster_D[mine], pa.int64()),
    }
    decisions = write_sidecar(index, columns, target, key=settings.key(), engine=engine.name)
    arguments = {"method": settings.method, "keep": keep, **settings.__dict__}
    write_run(target, verb="corpus dedup", arguments=arguments, seed=settings.seed, inputs=[source, *against])
    counts = (n_pairs, n_checked, n_before)
    report = duplicates_report(settings, is_duplicate_D, sizes_D[mine], first_D=first_D[mine], counts=counts)
    report.facts |= index.losses
    return Duplicates(decisions, index, report)


def _indexed(engine: Engine, source: object, folder: Path, settings: Settings, reading: Reading) -> Mapped:
    """The hashes of the documents: those in `folder`, if they were made from just these, else made now."""
    stamp = fingerprint(describe_input(source), reading.text, reading.skip_bad)
    if folder.exists():
        log(f"the hashes in {folder} are there already")
        return _opened(folder, settings, stamp=stamp)
    extra = (settings.url,) if settings.method == "url" else ()
    plain = replace(reading, columns=extra, sidecars=(), signals=None, schema=None)
    hasher = functools.partial(hashes, settings=settings)
    index = engine.map(source, hasher, folder, key=settings.key(), reading=plain, label="hashing")
    atomic_write(folder / _STAMP, stamp)
    return index


def hashes(batch: pa.RecordBatch, *, settings: Settings) -> pa.RecordBatch:
    """The hashes of each document: one of 16 bytes (null without text), or one for each band."""
    import pyarrow.compute as pc

    text = batch.column("text")
    columns = {"id": batch.column("id"), "chars": pc.fill_null(pc.utf8_length(text), 0).cast(pa.int64())}
    if settings.method == "url":
        columns["hash"] = _digests([normalised_url(url) for url in batch.column(settings.url).to_pylist()])
    elif settings.method == "exact" and settings.strict:
        columns["hash"] = _digests(text.to_pylist())
    elif settings.method == "exact":
        columns["hash"] = _word_digests(text)
    else:
        columns |= _bands(text, settings)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def normalised_url(url: str | None) -> str | None:
    """An address without what does not change the page: scheme, `www.`, fragment, tracking, order of the query."""
    from urllib.parse import parse_qsl, urlencode, urlsplit

    if not url or not url.strip():
        return None
    url = url.strip()
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True)
                 if not key.lower().startswith(_TRACKING)]  # fmt: skip
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    except ValueError:
        return url
    host = (parts.hostname or "").removeprefix("www.")
    return f"{host}{port}{parts.path.rstrip('/') or '/'}{'?' + urlencode(sorted(query)) if query else ''}"


def _digests(texts: list[str | None]) -> pa.Array:
    made = [
        None if text is None else hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    ]
    return pa.array(made, pa.binary(16))


def _word_digests(text: pa.StringArray) -> pa.Array:
    """One digest of the normalised words of each text; none for a text without words."""
    from tokenry.corpora.prepared import Prepared

    words = Prepared(text).folded
    made = [
        hashlib.blake2b(words.hashes[start:end].tobytes(), digest_size=16).digest() if end > start else None
        for start, end in zip(words.offsets[:-1], words.offsets[1:], strict=True)
    ]
    return pa.array(made, pa.binary(16))


def _bands(text: pa.StringArray, settings: Settings) -> dict[str, pa.Array]:
    from tokenry.corpora import minhash_kernels
    from tokenry.corpora.prepared import Prepared

    minhash = MinHash(settings.bands * settings.rows, seed=settings.seed)
    units, offsets, width = _units(Prepared(text), settings.width)
    empty = np.diff(offsets) == 0
    made = np.empty((len(text), minhash.n_permutations), np.uint32)
    for one in np.unique(width):
        chosen = np.flatnonzero(width == one)
        mine, starts = _gathered(units, offsets, chosen)
        made[chosen] = minhash_kernels.signatures(mine, starts, int(one), *minhash.multipliers)
    banded = minhash_kernels.band_hashes(made, settings.rows)
    columns = {f"band{band:03d}": pa.array(banded[:, band], mask=empty) for band in range(settings.bands)}
    if settings.verify:
        rows = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(made.shape[1] * 4), len(made), [None, pa.py_buffer(np.ascontiguousarray(made))]
        )
        columns["signature"] = rows
    return columns


def _units(prepared: object, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What shingles are made of, words or (in texts with hardly any space) characters, and the width for each text."""
    words = prepared.folded
    n_words = np.maximum(np.diff(words.offsets), 1)
    unspaced = prepared.lengths / n_words >= _UNSPACED
    if not unspaced.any():
        return words.hashes, words.offsets, np.full(len(n_words), width)
    counts = np.where(unspaced, prepared.lengths, np.diff(words.offsets))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    units = np.empty(offsets[-1], np.uint64)
    for text in range(len(n_words)):
        place = slice(offsets[text], offsets[text + 1])
        if unspaced[text]:
            units[place] = prepared.codes[prepared.starts[text] : prepared.starts[text + 1]]
        else:
            units[place] = words.hashes[words.offsets[text] : words.offsets[text + 1]]
    return units, offsets, np.where(unspaced, 2 * width, width)


def _gathered(units: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(chosen) == len(offsets) - 1:
        return units, offsets
    pieces = [units[offsets[one] : offsets[one + 1]] for one in chosen]
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return np.concatenate(pieces) if pieces else units[:0], starts


def _plain(names: pa.LargeStringArray) -> pa.ChunkedArray:
    """Large strings as plain ones, in pieces that fit."""
    pieces = [names.slice(start, 2**20).cast(pa.string()) for start in range(0, len(names), 2**20)]
    return pa.chunked_array(pieces, pa.string())


def _opened(folder: str | Path, settings: Settings, *, stamp: str | None = None) -> Mapped:
    mapped, written = read_mapped(folder), Path(folder) / _STAMP
    if stamp is not None and not (written.is_file() and written.read_text() == stamp):
        raise ValueError(
            f"the index {folder} is there already and was made from other documents than these, or not to its end. "
            "Remove it, or give another --out."
        )
    if mapped.key != settings.key():
        raise ValueError(
            f"the index {folder} was made with other settings than these. Use the same --method and parameters, or "
            "make the index of that corpus again."
        )
    return mapped
