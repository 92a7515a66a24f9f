"""Parsing with a grammar: the best tree of a sentence and the sum over all its trees (CKY on binary rules).

Rules of more than two children are cut in two by new symbols whose one rule has probability 1, so probabilities stay
as they are. Rules of one child stay: the best chain of them, and the sum over all chains (a geometric series, so
circles are counted exactly), are found once for the grammar.

Paper: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916), section on
CKY.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tokenry.corpora.parse_trees import Tree

if TYPE_CHECKING:
    from tokenry.corpora.grammar import LexicalizedPCFG

__all__ = ["Binary", "best_tree", "binary", "inside"]

Symbol = str | tuple[str, ...]  # a label, or the rest of a longer right side


@dataclass
class Binary:
    """A grammar for CKY.

    Attributes:
        pairs: left child -> (right child, parent, probability).
        best_chains: label -> (label above, probability, labels between) by the best chain of single children.
        chain_sums: label -> (label above, sum of the probabilities of all chains).
        tags: word -> (part of speech, probability).
    """

    pairs: dict[Symbol, list[tuple[Symbol, Symbol, float]]] = field(default_factory=lambda: defaultdict(list))
    best_chains: dict[str, list[tuple[str, float, tuple[str, ...]]]] = field(default_factory=dict)
    chain_sums: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    tags: dict[str, list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))


def binary(grammar: "LexicalizedPCFG") -> Binary:
    """The grammar in binary form; made once for a grammar."""
    made = grammar.__dict__.get("_binary")
    if made is not None:
        return made
    made, single = Binary(), {}
    for (label, side), p in grammar.rule_probs.items():
        is_leaf = len(side) == 1 and side[0] in grammar.words.get(label, ())
        if is_leaf:
            made.tags[side[0]].append((label, grammar.words[label][side[0]] / _total(grammar, label)))
        if side not in grammar.rules.get(label, ()):
            continue
        p = grammar.rules[label][side] / _total(grammar, label)
        if len(side) == 1:
            single[side[0], label] = p
        else:
            made.pairs[side[0]].append((_rest(side[1:]), label, p))
    seen = set()
    for label in sorted(grammar.rules):
        for side in sorted(grammar.rules[label]):
            for start in range(1, len(side) - 1):
                rest = side[start:]
                if rest not in seen:
                    seen.add(rest)
                    made.pairs[rest[0]].append((_rest(rest[1:]), rest, 1.0))
    _close(made, single, sorted(grammar.labels))
    grammar.__dict__["_binary"] = made
    return made


def _rest(side: tuple[str, ...]) -> Symbol:
    return side[0] if len(side) == 1 else side


def _total(grammar: "LexicalizedPCFG", label: str) -> int:
    return sum(grammar.rules.get(label, {}).values()) + sum(grammar.words.get(label, {}).values())


def _close(made: Binary, single: dict[tuple[str, str], float], labels: list[str]) -> None:
    """Best chains and sums of chains of single children, from below to above."""
    places = {label: place for place, label in enumerate(labels)}
    steps = np.zeros((len(labels), len(labels)))
    for (below, above), p in single.items():
        steps[places[below], places[above]] = p
    sums = np.linalg.inv(np.eye(len(labels)) - steps)  # 1 + U + U^2 + ...
    for below in labels:
        row = sums[places[below]]
        made.chain_sums[below] = [(labels[place], float(row[place])) for place in np.flatnonzero(row > 1e-300)]
        best: dict[str, tuple[float, tuple[str, ...]]] = {below: (1.0, ())}
        todo = [below]
        while todo:
            at = todo.pop(0)
            p, between = best[at]
            for place in np.flatnonzero(steps[places[at]]):
                above = labels[place]
                better = p * float(steps[places[at], place])
                if better > best.get(above, (0.0, ()))[0]:
                    best[above] = (better, (*between, at))
                    todo.append(above)
        made.best_chains[below] = [(above, p, between) for above, (p, between) in sorted(best.items())]


def _tags(grammar: "LexicalizedPCFG", rules: Binary, word: str, smooth: bool) -> list[tuple[str, float]]:
    found = rules.tags.get(word)
    if found or not smooth:
        return found or []
    return [(tag, grammar.unknown(tag)) for tag in sorted(grammar.words)]


def inside(grammar: "LexicalizedPCFG", words: list[str], starts: dict[str, float], *, smooth: bool = False) -> float:
    """Natural log of the sum over all trees; see `LexicalizedPCFG.inside`."""
    rules, n = binary(grammar), len(words)
    # Cells are kept near 1 and their log scale apart: long sentences underflow otherwise.
    cells: dict[tuple[int, int], tuple[dict[Symbol, float], float]] = {}
    for width in range(1, n + 1):
        for begin in range(n - width + 1):
            end = begin + width
            found: dict[Symbol, float] = defaultdict(float)
            if width == 1:
                scale = 0.0
                for tag, p in _tags(grammar, rules, words[begin], smooth):
                    found[tag] += p
            else:
                halves = [(cells[begin, mid], cells[mid, end]) for mid in range(begin + 1, end)]
                scale = max((a[1] + b[1] for a, b in halves if a[0] and b[0]), default=0.0)
                for (left, left_scale), (right, right_scale) in halves:
                    if not left or not right:
                        continue
                    factor = math.exp(left_scale + right_scale - scale)
                    for symbol, p in left.items():
                        for other, parent, q in rules.pairs.get(symbol, ()):
                            if other in right:
                                found[parent] += p * right[other] * q * factor
            cells[begin, end] = _scaled(_summed(found, rules), scale)
    whole, scale = cells[0, n]
    total = sum(whole.get(label, 0.0) * weight for label, weight in starts.items())
    return math.log(total) + scale if total > 0 else -math.inf


def _summed(found: dict[Symbol, float], rules: Binary) -> dict[Symbol, float]:
    made: dict[Symbol, float] = defaultdict(float)
    for symbol, p in found.items():
        if isinstance(symbol, tuple):
            made[symbol] += p
        else:
            for above, q in rules.chain_sums[symbol]:
                made[above] += p * q
    return made


def _scaled(cell: dict[Symbol, float], scale: float) -> tuple[dict[Symbol, float], float]:
    top = max(cell.values(), default=0.0)
    if top <= 0:
        return {}, 0.0
    return {symbol: p / top for symbol, p in cell.items()}, scale + math.log(top)


def best_tree(
    grammar: "LexicalizedPCFG", words: list[str], starts: dict[str, float], *, smooth: bool = False
) -> tuple[Tree, float] | None:
    """The likeliest tree and its log probability; see `LexicalizedPCFG.parse`.

    The weights in `starts` choose among roots; they are not in the probability.
    """
    rules, n = binary(grammar), len(words)
    cells: dict[tuple[int, int], dict[Symbol, tuple[float, object]]] = {}
    for width in range(1, n + 1):
        for begin in range(n - width + 1):
            end = begin + width
            found: dict[Symbol, tuple[float, object]] = {}
            if width == 1:
                for tag, p in _tags(grammar, rules, words[begin], smooth):
                    if p > 0:
                        found[tag] = (math.log(p), words[begin])
            for mid in range(begin + 1, end):
                right = cells[mid, end]
                if not right:
                    continue
                for symbol, (score, _) in cells[begin, mid].items():
                    for other, parent, q in rules.pairs.get(symbol, ()):
                        if other in right:
                            total = score + right[other][0] + math.log(q)
                            if parent not in found or total > found[parent][0]:
                                found[parent] = (total, (symbol, other, mid))
            cells[begin, end] = _chained(found, rules)
    whole = cells[0, n]
    roots = [(whole[label][0] + math.log(weight), label) for label, weight in starts.items() if label in whole]
    if not roots:
        return None
    _, root = max(roots, key=lambda one: (one[0], one[1]))
    return _built(cells, grammar, root, 0, n)[0], whole[root][0]


def _chained(found: dict[Symbol, tuple[float, object]], rules: Binary) -> dict[Symbol, tuple[float, object]]:
    made = dict(found)
    for symbol, (score, how) in found.items():
        if isinstance(symbol, tuple):
            continue
        for above, p, between in rules.best_chains[symbol]:
            total = score + math.log(p)
            if between and (above not in made or total > made[above][0]):
                made[above] = (total, (between, how))
    return made


def _built(cells: dict, grammar: "LexicalizedPCFG", symbol: Symbol, begin: int, end: int) -> list[Tree]:
    """The trees below a symbol: one for a label, several for the rest of a right side."""
    _, how = cells[begin, end][symbol]
    if isinstance(how, tuple) and len(how) == 2:
        between, how = how
        made = _whole(cells, grammar, between[0], how, begin, end)
        for label in (*between[1:], symbol):
            made = Tree(label, (made,), head=0)
        return [made]
    if isinstance(symbol, tuple):
        first, other, mid = how
        return [*_built(cells, grammar, first, begin, mid), *_built(cells, grammar, other, mid, end)]
    return [_whole(cells, grammar, symbol, how, begin, end)]


def _whole(cells: dict, grammar: "LexicalizedPCFG", label: str, how: object, begin: int, end: int) -> Tree:
    if isinstance(how, str):
        return Tree(label, word=how)
    first, other, mid = how
    children = (*_built(cells, grammar, first, begin, mid), *_built(cells, grammar, other, mid, end))
    side = tuple(child.label for child in children)
    return Tree(label, children, head=grammar._usual_heads.get((label, side), 0))
