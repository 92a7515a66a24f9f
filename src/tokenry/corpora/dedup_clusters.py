"""From hashes to clusters: which documents agree in one, which of a cluster is kept, and what that amounts to.

A column of hashes is held at a time: 8 bytes a document, and as much again for the clusters.

Papers: RedPajama (arXiv 2411.12372), appendix: clusters as connected components.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import MinHash
from tokenry.core.report import Figure, Report
from tokenry.corpora.engine import Mapped
from tokenry.corpora.sidecars import read_signals
from tokenry.corpora.units import Reading

__all__ = ["KEEP", "catch_probability", "clustered", "duplicates_report", "ranks", "representatives"]

# Axes: D documents, E pairs, B bands.

KEEP = ("first", "longest")


def catch_probability(similarity: float, *, bands: int, rows: int) -> float:
    """The chance that a pair of this Jaccard similarity is caught: 1 - (1 - s^rows)^bands."""
    return 1 - (1 - similarity**rows) ** bands


def _column(indexes: Sequence[Mapped], name: str) -> pa.Array:
    """One column of all indexes, one after the other: a column at a time is all that is held.

    Strings are large ones: the ids of a hundred million documents are more than 2 GB.
    """
    import pyarrow.parquet as pq

    column = pa.concat_tables([pq.read_table(part, columns=[name]) for part in _parts(indexes)]).column(name)
    if pa.types.is_string(column.type):
        column = column.cast(pa.large_string())
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _parts(indexes: Sequence[Mapped]) -> list[Path]:
    return [part for index in indexes for part in index.parts]


def clustered(indexes: Sequence[Mapped], settings: object) -> tuple[pa.Array, np.ndarray, np.ndarray, int, int]:
    """Ids, the first document of each one's cluster, lengths, and the number of pairs before and after checking."""
    ids, sizes_D = _column(indexes, "id"), _column(indexes, "chars").to_numpy()
    names = ["hash"] if settings.method != "minhash" else [f"band{band:03d}" for band in range(settings.bands)]
    # A pair as one number: rows of two are sorted many times slower, and take as much again.
    coded_E = np.unique(np.concatenate([_pairs(_column(indexes, name)) for name in names]))
    pairs_E2 = np.stack(np.divmod(coded_E, len(ids)), axis=1) if len(ids) else np.empty((0, 2), np.int64)
    n_pairs = len(pairs_E2)
    if settings.verify and settings.method == "minhash":
        pairs_E2 = pairs_E2[_similarities(indexes, pairs_E2) >= settings.verify]
    return ids, _components(pairs_E2, len(ids)), sizes_D, n_pairs, len(pairs_E2)


def _pairs(values: pa.Array) -> np.ndarray:
    """Each document whose value was there before, with the first that had it: int64, first * documents + document."""
    codes = values.dictionary_encode()
    codes_D = codes.indices.fill_null(-1).to_numpy()
    first_C = np.full(len(codes.dictionary), len(codes_D), np.int64)
    known = np.flatnonzero(codes_D >= 0)
    np.minimum.at(first_C, codes_D[known], known)
    firsts = first_C[codes_D[known]]
    later = firsts != known
    return firsts[later] * len(codes_D) + known[later]


def _similarities(indexes: Sequence[Mapped], pairs_E2: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity of each pair, from the whole signatures of the documents in pairs."""
    wanted, places = np.unique(pairs_E2, return_inverse=True)
    places = places.reshape(pairs_E2.shape)
    if not len(wanted):
        return np.empty(0)
    signatures = _signatures(indexes, wanted)
    made = np.empty(len(pairs_E2))
    for start in range(0, len(pairs_E2), 65_536):
        block = places[start : start + 65_536]
        made[start : start + 65_536] = MinHash.similarity(signatures[block[:, 0]], signatures[block[:, 1]])
    return made


def _signatures(indexes: Sequence[Mapped], wanted: np.ndarray) -> np.ndarray:
    """The signatures of the documents `wanted` (sorted); no others are held for longer than their part is read."""
    import pyarrow.parquet as pq

    held, n_before = [], 0
    for part in _parts(indexes):
        column = pq.read_table(part, columns=["signature"]).column("signature")
        low, high = np.searchsorted(wanted, [n_before, n_before + len(column)])
        taken = column.take(pa.array(wanted[low:high] - n_before))
        held.append(np.frombuffer(b"".join(taken.to_pylist()), np.uint32))
        n_before += len(column)
    return np.concatenate(held).reshape(len(wanted), -1)


def _components(pairs_E2: np.ndarray, n: int) -> np.ndarray:
    """For each document the first document of its cluster."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs_E2), np.int8)
    graph = coo_array((ones, (pairs_E2[:, 0], pairs_E2[:, 1])), shape=(n, n))
    n_clusters, labels_D = connected_components(graph, directed=False)
    first_C = np.full(n_clusters, n, np.int64)
    np.minimum.at(first_C, labels_D, np.arange(n))
    return first_C[labels_D]


def ranks(keep: str, sizes_D: np.ndarray, *, n_before: int, reading: Reading) -> np.ndarray:
    """What decides who is kept, the lowest; documents of earlier corpora always come first."""
    order_D = np.arange(len(sizes_D), dtype=np.float64)
    if keep == "longest":
        rank_D = -sizes_D.astype(np.float64)
    elif keep == "first":
        rank_D = order_D.copy()
    else:
        rank_D = np.concatenate([np.zeros(n_before), -_scores(keep, reading)])
    rank_D[:n_before] = -np.inf
    return np.lexsort((order_D, rank_D)).argsort()


def _scores(name: str, reading: Reading) -> np.ndarray:
    for folder in reading.sidecars:
        try:
            values = read_signals(folder, [name]).column(name)
        except ValueError:
            continue
        return values.cast(pa.float64()).fill_null(-np.inf).to_numpy()
    raise ValueError(
        f"nothing to keep by is called {name!r}; need {', '.join(KEEP)}, or a column of a sidecar (--signals)."
    )


def representatives(first_D: np.ndarray, rank_D: np.ndarray) -> np.ndarray:
    """For each document the one of its cluster with the lowest rank."""
    best = np.full(len(first_D), len(first_D), np.int64)
    np.minimum.at(best, first_D, rank_D)
    of_rank = np.argsort(rank_D)
    return of_rank[best[first_D]]


def duplicates_report(
    settings: object,
    is_duplicate_D: np.ndarray,
    sizes_D: np.ndarray,
    *,
    first_D: np.ndarray,
    counts: tuple[int, int, int],
) -> Report:
    """What was found: counts, sizes of clusters, and for MinHash the chance that a pair is caught.

    Args:
        settings: the `dedup.Settings`.
        is_duplicate_D: which documents are dropped.
        sizes_D: characters of each.
        first_D: what names the cluster of each.
        counts: pairs, pairs after checking, documents of earlier corpora.
    """
    n, (n_pairs, n_checked, n_before) = len(sizes_D), counts
    _, members = np.unique(first_D, return_counts=True)
    share = sizes_D[is_duplicate_D].sum() / max(1, sizes_D.sum())
    facts: dict[str, object] = {
        "method": settings.method,
        "documents": n,
        "duplicates": int(is_duplicate_D.sum()),
        "characters": int(sizes_D.sum()),
        "duplicate_characters": int(sizes_D[is_duplicate_D].sum()),
        "clusters": int((members > 1).sum()),
        "largest_cluster": int(members.max(initial=0)),
        "pairs": n_pairs,
        "earlier_documents": n_before,
    }
    size, times = np.unique(members, return_counts=True)
    tables = {"clusters": pa.table({"size": size, "clusters": times})}
    figures, notes = [], []
    if settings.method == "minhash":
        bands, rows = settings.bands, settings.rows
        caught = [(s / 20, catch_probability(s / 20, bands=bands, rows=rows)) for s in range(6, 21)]
        tables["catch"] = pa.table({"similarity": [s for s, _ in caught], "caught": [p for _, p in caught]})
        figures.append(Figure("line", "Chance that a pair is caught", "Jaccard similarity", "chance", {"pair": caught}))
        half = (1 - 0.5 ** (1 / bands)) ** (1 / rows)
        notes.append(
            f"{bands} bands of {rows} values: half of the pairs are caught at a similarity of {half:.2f}. Clusters "
            "chain pairs, so the ends of one may be less alike."
        )
        if settings.verify:
            facts["pairs_checked"] = n_checked
    return Report(
        kind="dedup",
        title="Duplicates",
        facts=facts,
        tables=tables,
        figures=figures,
        verdict=f"{facts['duplicates']:,} of {n:,} documents are duplicates of another, {share:.1%} of the characters.",
        notes=notes,
    )
