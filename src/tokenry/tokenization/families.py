"""Which tokenizers are related: shared entries by bytes, groups, core and lone tokens, three notions of "the same".

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989; Jaccard similarity, average linkage cut at 0.95).
"""

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import wilson_interval
from tokenry.core.numerics import kendall_tau
from tokenry.core.report import Figure, Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.composition import CLASSES, PLACES, QTOK_NAMES, composition
from tokenry.tokenization.findings import rows_as_columns
from tokenry.tokenization.naming import short_names

# Axes: T tokenizers.

_ALIKE = 0.95
_TOP_SCRIPTS, _LEAST_SHARE = 40, 0.01
_MOST_MERGES = 1_000


def families(tokenizers: Sequence[object], *, names: Sequence[str] | None = None, alike: float = _ALIKE) -> Report:
    """Lay vocabularies side by side, without any text: classes, scripts, shared entries, groups.

    Args:
        tokenizers: two or more, each whatever `Vocab.open` takes.
        names: what to call them; None takes short names from their files.
        alike: tokenizers whose average Jaccard similarity is at least this are one group.

    Returns:
        Report of kind "tokenizer-families". Tables: classes and scripts in shares of each vocabulary ("union" is all
        of them together, each entry once), similarity, pairs, groups. Facts: n_tokenizers, n_groups, union_tokens,
        core_tokens (in all), lone_tokens (in one only).

    Raises:
        ValueError: fewer than two, or names that do not fit. As `Vocab.open` too.
    """
    if len(tokenizers) < 2:
        raise ValueError(f"{len(tokenizers)} tokenizer to compare; need at least two.")
    vocabs = [Vocab.open(tokenizer) for tokenizer in tokenizers]
    names = short_names(vocabs, tokenizers) if names is None else check_names(names, len(vocabs))
    report = Report(kind="tokenizer-families", title=f"{len(vocabs)} vocabularies side by side")
    sets = [frozenset(vocab.index) for vocab in vocabs]
    groups = lay_relations(report, names, sets, alike=alike)
    _lay_composition(report, vocabs, names, sets)
    report.tables["pairs"] = pa.table(rows_as_columns(list(pair_rows(vocabs, names))))
    report.verdict = (
        f"{len(vocabs)} tokenizers, {len(groups)} different token sets (similarity {alike} and more counts as one): "
        f"{report.facts['union_tokens']:,} different entries, {report.facts['core_tokens']:,} in all of them."
    )
    return report


def check_names(names: Sequence[str], n: int) -> list[str]:
    """Names for `n` tokenizers.

    Raises:
        ValueError: if there are more or fewer, or two are the same.
    """
    if len(names) != n or len(set(names)) != n:
        raise ValueError(f"the names {', '.join(names)} for {n} tokenizers; need as many, all different.")
    return list(names)


def lay_relations(
    report: Report, names: Sequence[str], sets: Sequence[frozenset[bytes]], *, alike: float = _ALIKE
) -> list[list[int]]:
    """Add similarity, groups, core and lone tokens to a report; returns the groups."""
    similarity = jaccard_matrix(sets)
    groups = grouped_by_similarity(similarity, alike=alike)
    union = frozenset().union(*sets)
    times = np.zeros(0) if not union else _times_held(sets)
    core = frozenset.intersection(*sets)
    lone = [sum(1 for _ in only) for only in _only_in_one(sets)]
    report.facts |= {"n_tokenizers": len(sets), "n_groups": len(groups), "union_tokens": len(union)}
    report.facts |= {"core_tokens": len(core), "lone_tokens": int((times == 1).sum())}
    columns: dict[str, object] = {"tokenizer": list(names)}
    columns |= {name: similarity[:, i] for i, name in enumerate(names)}
    report.tables["similarity"] = pa.table(columns)
    report.tables["groups"] = pa.table(
        {
            "group": list(range(1, len(groups) + 1)),
            "members": [[names[i] for i in members] for members in groups],
            "entries": [max(len(sets[i]) for i in members) for members in groups],
        }
    )
    report.tables["entries"] = pa.table(
        {
            "tokenizer": list(names),
            "entries": [len(own) for own in sets],
            "share_of_union": [len(own) / max(len(union), 1) for own in sets],
            "only_here": lone,
            "core_share": [len(core) / max(len(own), 1) for own in sets],
        }
    )
    report.notes.append("Entries are the same when they add the same bytes to a text, whatever their ids and spelling.")
    return groups


def jaccard_matrix(sets: Sequence[Collection[bytes]]) -> np.ndarray:
    """|A and B| / |A or B| of all pairs, (T, T); 1 for two empty sets."""
    n = len(sets)
    similarity = np.eye(n)
    for i in range(n):
        for j in range(i):
            shared = len(sets[i] & sets[j])
            whole = len(sets[i]) + len(sets[j]) - shared
            similarity[i, j] = similarity[j, i] = shared / whole if whole else 1.0
    return similarity


def grouped_by_similarity(similarity: np.ndarray, *, alike: float = _ALIKE) -> list[list[int]]:
    """Groups by average linkage: joined while the average similarity of two groups is at least `alike`; largest first.

    Raises:
        ValueError: unless 0 <= alike <= 1.
    """
    if not 0 <= alike <= 1:
        raise ValueError(f"alike={alike}; need a similarity from 0 to 1.")
    n = len(similarity)
    if n == 1:
        return [[0]]
    from scipy.cluster.hierarchy import fcluster, linkage

    distances = (1 - similarity)[np.triu_indices(n, 1)]
    labels = fcluster(linkage(distances, "average"), 1 - alike + 1e-12, "distance")
    groups: dict[int, list[int]] = {}
    for i, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(i)
    return sorted(groups.values(), key=lambda members: (-len(members), members))


def _times_held(sets: Sequence[frozenset[bytes]]) -> np.ndarray:
    """For each entry of the union, how many hold it."""
    from collections import Counter

    held: Counter[bytes] = Counter()
    for own in sets:
        held.update(own)
    return np.fromiter(held.values(), np.int64, len(held))


def _only_in_one(sets: Sequence[frozenset[bytes]]) -> list[frozenset[bytes]]:
    found = []
    for i, own in enumerate(sets):
        rest = own
        for j, other in enumerate(sets):
            if i != j:
                rest = rest - other
        found.append(rest)
    return found


def _lay_composition(
    report: Report, vocabs: list[Vocab], names: Sequence[str], sets: Sequence[frozenset[bytes]]
) -> None:
    """Qtok's tables: a row for each tokenizer and one for the union, in shares of the vocabulary."""
    from tokenry.tokenization.composition import compose

    made = [composition(vocab) for vocab in vocabs] + [compose(sorted(frozenset().union(*sets)))]
    columns: dict[str, list] = {"tokenizer": [*names, "union"], "size": [len(own.class_V) for own in made]}
    for name in CLASSES:
        columns[QTOK_NAMES[name]] = [
            a + own.class_counts()[name] / len(own.class_V)
            for a, own in zip(columns.get(QTOK_NAMES[name], [0.0] * len(made)), made, strict=True)
        ]
    report.tables["classes"] = pa.table(columns)
    shares = [{key: n / len(own.class_V) for key, n in own.places().items()} for own in made]
    keys = {key for own in shares for key, value in own.items() if value >= _LEAST_SHARE}
    ordered = sorted(keys, key=lambda key: (-sum(own.get(key, 0) for own in shares), key))[:_TOP_SCRIPTS]
    table: dict[str, list] = {
        "script": [script for script, _ in ordered] + ["others"] * len(PLACES),
        "place": [place for _, place in ordered] + list(PLACES),
    }
    for name, own in zip(columns["tokenizer"], shares, strict=True):
        rest = [sum(v for (_, p), v in own.items() if p == place) for place in PLACES]
        rest = [r - sum(own.get(k, 0) for k in ordered if k[1] == p) for r, p in zip(rest, PLACES, strict=True)]
        table[name] = [own.get(key, 0.0) for key in ordered] + [max(0.0, value) for value in rest]
    report.tables["scripts"] = pa.table(table)
    series = {
        place: [
            (name, sum(v for (_, p), v in own.items() if p == place))
            for name, own in zip(columns["tokenizer"], shares, strict=True)
        ]
        for place in PLACES
    }
    report.figures.append(Figure("bar", "Entries of letters, by place in a word", "tokenizer", "share", series))


def pair_rows(vocabs: Sequence[Vocab], names: Sequence[str], *, probes: Sequence[str] = ()) -> list[dict[str, object]]:
    """For every pair: shared entries, and whether they are the same by token set, by ids, and by how they cut a text.

    Args:
        vocabs: two or more.
        names: theirs.
        probes: texts to cut; the third notion is left out without any.
    """
    cuts = [_cuts(vocab, probes) for vocab in vocabs]
    orders = [merge_order(vocab) for vocab in vocabs]
    sets = [frozenset(vocab.index) for vocab in vocabs]
    rows = []
    for j in range(len(vocabs)):
        for i in range(j):
            shared = len(sets[i] & sets[j])
            row: dict[str, object] = {"first": names[i], "second": names[j], "shared": shared}
            row |= {"only_first": len(sets[i]) - shared, "only_second": len(sets[j]) - shared}
            row |= {"jaccard": shared / max(len(sets[i]) + len(sets[j]) - shared, 1)}
            row |= {"same_token_set": sets[i] == sets[j], "same_ids": vocabs[i].tokens == vocabs[j].tokens}
            row |= {"merge_order": merge_agreement(orders[i], orders[j])}
            if probes:
                same = sum(a == b for a, b in zip(cuts[i], cuts[j], strict=True))
                interval = wilson_interval(same, len(probes))
                row |= {"same_cut_share": interval.value, "same_cut_low": interval.low, "same_cut_high": interval.high}
                row |= {"same_cut": same == len(probes), "texts": len(probes)}
            rows.append(row)
    return rows


def _cuts(vocab: Vocab, texts: Sequence[str]) -> list[list[bytes | None]]:
    return [[vocab.tokens[i] for i in ids] for ids in vocab.encode(list(texts))]


def merge_order(vocab: Vocab) -> dict[tuple[bytes | None, bytes | None], int]:
    """Place of each merge in the order, by the bytes of its two parts; the first where a pair stands twice."""
    tokens, order = vocab.tokens, {}
    for place, (left, right, _) in enumerate(vocab.merges.tolist()):
        order.setdefault((tokens[left], tokens[right]), place)
    return order


def merge_agreement(first: dict[tuple, int], second: dict[tuple, int]) -> float | None:
    """Kendall's tau of the order of the merges both have; None with fewer than two.

    Of many, 1,000 evenly spaced ones are taken: tau is then known to about .02.
    """
    shared = [pair for pair in first if pair in second]
    if len(shared) < 2:
        return None
    picked = np.linspace(0, len(shared) - 1, min(len(shared), _MOST_MERGES)).astype(int)
    pairs = [shared[i] for i in picked]
    return float(kendall_tau([first[pair] for pair in pairs], [second[pair] for pair in pairs]))
