"""Small patterns in labelled directed graphs (dependency or discourse trees): which shapes do texts repeat?

A motif is a connected set of k nodes with all edges between them, counted up to renaming of nodes; labels of edges and
nodes count. Exact for any k (the ESU enumeration meets every connected set once); with `share` below 1 each branch of
the enumeration is followed with a probability, so that every set has the same chance `share`, and counts are scaled.

Graphs are yours: any parser's trees (`graph_of_trees`), or discourse (RST) graphs.

Papers: Under the Surface: Tracking the Artifactuality of LLM-Generated Data (arXiv 2401.14698), discourse motifs;
Efficient Detection of Network Motifs (Wernicke, 2006).
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tokenry.corpora.artifacts import Finding, compare_means
from tokenry.corpora.parse_trees import Tree

__all__ = ["Graph", "canonical", "compare_motifs", "connected_sets", "count_motifs", "graph_of_trees"]

LARGEST = 9
_MOST_ORDERS = 50_000

Motif = tuple


@dataclass(frozen=True)
class Graph:
    """A directed graph.

    Attributes:
        n: nodes, 0 to n - 1.
        edges: (from, to, label).
        labels: of the nodes; none are all alike.
    """

    n: int
    edges: tuple[tuple[int, int, str], ...]
    labels: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        wrong = [edge for edge in self.edges if not (0 <= edge[0] < self.n and 0 <= edge[1] < self.n)]
        if wrong or (self.labels and len(self.labels) != self.n):
            raise ValueError(
                f"{self.n} nodes, {len(self.labels)} labels, edges outside: {wrong[:3]}; need edges between nodes 0 to "
                "n - 1 and a label for every node, or none."
            )


def graph_of_trees(trees: Sequence[Tree]) -> Graph:
    """Words of a document as nodes, each sentence by itself: from a head to what hangs on it, by relation or phrase."""
    edges: list[tuple[int, int, str]] = []
    n = 0

    def hang(node: Tree, first: int) -> int:
        """Edges below a node whose first word has this number; the number of its head."""
        if node.word is not None:
            return first
        heads, at = [], first
        for child in node.children:
            heads.append(hang(child, at))
            at += len(child.leaves)
        top = heads[node.head]
        edges.extend(
            (top, head, child.relation or child.label)
            for head, child in zip(heads, node.children, strict=True)
            if head != top
        )
        return top

    for tree in trees:
        hang(tree, n)
        n += len(tree.leaves)
    return Graph(n, tuple(edges))


def connected_sets(
    graph: Graph, k: int, *, share: float = 1.0, rng: np.random.Generator | None = None
) -> Iterator[tuple[int, ...]]:
    """Every connected set of k nodes once (ESU), or each with the chance `share` (RAND-ESU).

    Raises:
        ValueError: k outside 1 to 9, a share outside (0, 1], or no generator with one below 1.
    """
    if not 1 <= k <= LARGEST or not 0 < share <= 1:
        raise ValueError(f"k={k}, share={share}; need 1 to {LARGEST} nodes and a share above 0, at most 1.")
    if share < 1 and rng is None:
        raise ValueError("a sample of motifs needs a generator (rng).")
    near: list[set[int]] = [set() for _ in range(graph.n)]
    for a, b, _ in graph.edges:
        if a != b:
            near[a].add(b)
            near[b].add(a)
    each = share ** (1 / k)

    def followed() -> bool:
        return share == 1 or rng.random() < each

    def grow(held: tuple[int, ...], open_: list[int], around: set[int]) -> Iterator[tuple[int, ...]]:
        if len(held) == k:
            yield tuple(sorted(held))
            return
        open_ = list(open_)
        while open_:
            new = open_.pop()
            fresh = [one for one in sorted(near[new]) if one > held[0] and one not in around]
            if followed():
                yield from grow((*held, new), open_ + fresh, around | near[new])

    for node in range(graph.n):
        if followed():
            yield from grow((node,), sorted(one for one in near[node] if one > node), near[node] | {node})


def canonical(graph: Graph, nodes: Sequence[int]) -> Motif:
    """A name that two sets of nodes share exactly if one is the other with its nodes renamed.

    Raises:
        ValueError: a set so symmetric that too many orders would have to be tried (never with k <= 8).
    """
    within = set(nodes)
    edges = [edge for edge in graph.edges if edge[0] in within and edge[1] in within]
    colours = {node: graph.labels[node] if graph.labels else "" for node in nodes}
    classes = _refined(colours, edges)
    n_orders = math.prod(math.factorial(len(one)) for one in classes)
    if n_orders > _MOST_ORDERS:
        raise ValueError(f"a motif of {len(nodes)} nodes with {n_orders:,} orders to try; take a smaller k.")
    best = None
    for order in itertools.product(*(itertools.permutations(one) for one in classes)):
        place = {node: number for number, node in enumerate(itertools.chain(*order))}
        named = tuple(sorted((place[a], place[b], label) for a, b, label in edges))
        best = named if best is None or named < best else best
    return tuple(colours[node] for one in classes for node in one), best


def _refined(colours: dict[int, str], edges: list[tuple[int, int, str]]) -> list[list[int]]:
    """Nodes in classes that no renaming mixes: by label, then by what stands around them, until nothing changes."""
    keys = {node: (colour,) for node, colour in colours.items()}
    ranks = _ranks(keys)
    for _ in colours:
        around = defaultdict(list)
        for a, b, label in edges:
            around[a].append((0, label, ranks[b]))
            around[b].append((1, label, ranks[a]))
        finer = _ranks({node: (ranks[node], tuple(sorted(around[node]))) for node in colours})
        if len(set(finer.values())) == len(set(ranks.values())):
            break
        ranks = finer
    groups = defaultdict(list)
    for node, rank in ranks.items():
        groups[rank].append(node)
    return [groups[rank] for rank in sorted(groups)]


def _ranks(keys: dict[int, tuple]) -> dict[int, int]:
    order = {key: rank for rank, key in enumerate(sorted(set(keys.values())))}
    return {node: order[key] for node, key in keys.items()}


def count_motifs(graph: Graph, k: int, *, share: float = 1.0, rng: np.random.Generator | None = None) -> Counter[Motif]:
    """How often each motif of k nodes occurs (estimated where `share` is below 1).

    Paper: Under the Surface (arXiv 2401.14698), with 3, 6 and 9 nodes; there 6 and 9 are counted whole.
    """
    counts: Counter[Motif] = Counter()
    for nodes in connected_sets(graph, k, share=share, rng=rng):
        counts[canonical(graph, nodes)] += 1
    if share < 1:
        return Counter({motif: n / share for motif, n in counts.items()})
    return counts


def compare_motifs(
    human: Sequence[Graph],
    synthetic: Sequence[Graph],
    *,
    k: int = 3,
    per: str = "motifs",
    interest: float = 2.0,
    most: int = 50,
    share: float = 1.0,
    seed: int = 0,
) -> list[Finding]:
    """Compare how often each motif occurs in a document.

    Args:
        human: one graph a document.
        synthetic: the same.
        k: nodes of a motif.
        per: counts are divided by a document's "motifs" (which shapes does it choose) or "edges" (how many has it).
        interest: group "of interest" for motifs whose absolute difference is this many standard deviations above the
            mean of all; the others are "other".
        most: the motifs that occur in most documents, at most so many.
        share: of the sets that are looked at.
        seed: of that sample.

    Raises:
        ValueError: another `per`.

    Paper: Under the Surface (arXiv 2401.14698).
    """
    if per not in ("motifs", "edges"):
        raise ValueError(f"per={per!r}; need motifs or edges: they answer different questions.")
    rng = np.random.default_rng(seed)
    counted = [[count_motifs(graph, k, share=share, rng=rng) for graph in graphs] for graphs in (human, synthetic)]
    found = Counter(motif for side in counted for counts in side for motif in counts)
    names = sorted(found, key=lambda motif: (-found[motif], motif))[:most]
    rates = []
    for graphs, side in zip((human, synthetic), counted, strict=True):
        totals = [sum(c.values()) if per == "motifs" else len(g.edges) for g, c in zip(graphs, side, strict=True)]
        rates.append(np.array([[c[m] / t if t else math.nan for m in names]
                               for c, t in zip(side, totals, strict=True)]).reshape(len(side), len(names)))  # fmt: skip
    made = [
        compare_means(rates[0][:, place], rates[1][:, place], metric=f"motif{k}.{_shown(motif)}")
        for place, motif in enumerate(names)
    ]
    sizes = np.abs([one.difference for one in made])
    limit = np.nanmean(sizes) + interest * np.nanstd(sizes) if np.isfinite(sizes).any() else math.inf
    made = [
        Finding(one.metric, "of interest" if size >= limit else "other", *[getattr(one, name) for name in _REST])
        for one, size in zip(made, sizes, strict=True)
    ]
    entropies = [[_entropy(counts) for counts in side] for side in counted]
    return [compare_means(*entropies, metric=f"motif{k}.entropy_bits"), *made]


_REST = ("human", "synthetic", "difference", "low", "high", "n", "test", "p")


def _entropy(counts: Counter) -> float:
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else math.nan


def _shown(motif: Motif) -> str:
    labels, edges = motif
    names = [f"{label}{place}" if label else str(place) for place, label in enumerate(labels)]
    return " ".join(f"{names[a]}-{label or ''}>{names[b]}" for a, b, label in edges)
