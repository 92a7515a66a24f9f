"""A grammar learnt from parse trees: how likely is a sentence, what is its best tree, and new sentences from it.

Two models of one set of trees:

- Rules by maximum likelihood, q(A -> beta) = count(A -> beta) / count(A), words included. With it sentences are parsed
  (`parse`, `inside`) and made (`sample`); `cky` has the algorithms.
- Lexicalised (`log_p`): a phrase chooses its children given its label and its head's tag and word, each child that is
  not the head chooses its own head word given the phrase around it. Witten-Bell interpolation backs off from (label,
  tag, word) to (label, tag) to the label, and at last to a proper spread over any children and any words, so that
  every tree has a finite value, also under the grammar of another class. As in Collins's models a little mass is lost
  on children that do not fit their head.

Papers: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916); Three
Generative, Lexicalised Models for Statistical Parsing (arXiv cmp-lg/9706022).
"""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tokenry.corpora.parse_trees import MAX_DEPTH, Tree

__all__ = ["LexicalizedPCFG", "Rule", "rules_of"]

Rule = tuple[str, tuple[str, ...]]
"""Left side and right side; the right side of a leaf's rule is its word alone."""

MOST_WORDS = 200
"""Longest sentence that is parsed; the work grows with the cube of its length."""


def rules_of(tree: Tree) -> list[tuple[str, tuple[str, ...], bool]]:
    """(left side, right side, whether it is a leaf's) of every node."""
    return [
        (node.label, (node.word,), True)
        if node.word is not None
        else (node.label, tuple(child.label for child in node.children), False)
        for _, node in tree.nodes()
    ]


class _Choices:
    """Counts of outcomes in a row of contexts, from the most special to the most general, interpolated."""

    def __init__(self) -> None:
        self.counts: dict[tuple, Counter] = defaultdict(Counter)
        self.totals: Counter = Counter()

    def add(self, contexts: tuple[tuple, ...], outcome: object) -> None:
        for context in contexts:
            self.counts[context][outcome] += 1
            self.totals[context] += 1

    def p(self, contexts: tuple[tuple, ...], outcome: object, floor: float) -> float:
        """Probability; `floor` is that of the outcome where nothing was counted (Witten and Bell, 1991)."""
        p = floor
        for context in reversed(contexts):
            seen = self.counts.get(context)
            if seen:
                p = (seen[outcome] + len(seen) * p) / (self.totals[context] + len(seen))
        return p


@dataclass(eq=False)
class LexicalizedPCFG:
    """A grammar with heads.

    Attributes:
        rules: left side -> right side -> count, phrases only.
        words: part of speech -> word -> count.
        roots: label -> how many trees begin with it.
        n_trees: trees it was learnt from.
    """

    rules: dict[str, Counter]
    words: dict[str, Counter]
    roots: Counter
    n_trees: int
    _children: _Choices = field(repr=False, default_factory=_Choices)
    _heads: _Choices = field(repr=False, default_factory=_Choices)

    @classmethod
    def from_trees(cls, trees: Iterable[Tree]) -> "LexicalizedPCFG":
        """Learn from trees.

        Raises:
            ValueError: there is no tree.

        Paper: ALP (arXiv 2112.11916), for the rules.
        """
        made = cls(defaultdict(Counter), defaultdict(Counter), Counter(), 0)
        for tree in trees:
            made.n_trees += 1
            made.roots[tree.label] += 1
            made._heads.add((("root", tree.label), ()), _head(tree))
            for _, node in tree.nodes():
                made._count(node)
        if not made.n_trees:
            raise ValueError("no tree to learn a grammar from; need at least one. Give texts the parser can read.")
        return made

    def _count(self, node: Tree) -> None:
        if node.word is not None:
            self.words[node.label][node.word] += 1
            return
        self.rules[node.label][tuple(child.label for child in node.children)] += 1
        self._children.add(_child_contexts(node), _shape(node))
        for place, child in enumerate(node.children):
            if place != node.head:
                self._heads.add(_head_contexts(node, child), _head(child))

    @functools.cached_property
    def rule_probs(self) -> Mapping[Rule, float]:
        """q of every rule, a leaf's with its word as the right side; they sum to 1 for each left side."""
        totals = Counter({label: sum(sides.values()) for label, sides in self.rules.items()})
        for label, words in self.words.items():
            totals[label] += sum(words.values())
        made = {
            (label, side): n / totals[label]
            for table in (self.rules, {t: {(w,): n for w, n in ws.items()} for t, ws in self.words.items()})
            for label, sides in table.items()
            for side, n in sides.items()
        }
        return dict(sorted(made.items()))

    @functools.cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word."""
        return frozenset(word for words in self.words.values() for word in words)

    @functools.cached_property
    def labels(self) -> frozenset[str]:
        """Every label, of phrases and of parts of speech."""
        return frozenset(self.rules) | frozenset(self.words)

    def knows(self, tree: Tree) -> bool:
        """Whether every rule of a tree, words included, is one of the grammar's."""
        return all(
            side[0] in self.words.get(label, ()) if leaf else side in self.rules.get(label, ())
            for label, side, leaf in rules_of(tree)
        )

    def log_q(self, tree: Tree) -> float:
        """Natural log of the product of q over the rules of a tree, -inf where one is unknown."""
        total = 0.0
        for label, side, _ in rules_of(tree):
            p = self.rule_probs.get((label, side), 0.0)
            if p == 0.0:
                return -math.inf
            total += math.log(p)
        return total

    def log_p(self, tree: Tree) -> float:
        """Natural log of the lexicalised probability of a tree; finite for every tree.

        Paper: Three Generative, Lexicalised Models for Statistical Parsing (arXiv cmp-lg/9706022), model 1 in spirit:
            children of a phrase are chosen together here, which few trees bear better than a chain does.
        """
        word_floor = 1.0 / (len(self.vocabulary) + 1) / (len(self.words) + 1)
        total = math.log((self.roots[tree.label] + 1.0) / (self.n_trees + len(self.labels) + 1.0))
        total += math.log(self._heads.p((("root", tree.label), ()), _head(tree), word_floor))
        for _, node in tree.nodes():
            if node.word is not None:
                continue
            # Any number of children, each of any label, any of them the head.
            n = len(node.children)
            floor = 0.5**n / (len(self.labels) + 1.0) ** n / n
            total += math.log(self._children.p(_child_contexts(node), _shape(node), floor))
            for place, child in enumerate(node.children):
                if place != node.head:
                    total += math.log(self._heads.p(_head_contexts(node, child), _head(child), word_floor))
        return total

    def parse(self, words: list[str], *, root: str | None = None, smooth: bool = False) -> tuple[Tree, float] | None:
        """The likeliest tree of a sentence and the natural log of its probability (CKY), None if there is none.

        Args:
            words: at most `MOST_WORDS`.
            root: label of the whole; the likeliest of those seen at the root when not given.
            smooth: let a word that is new be any part of speech, by how often each showed new words.

        Raises:
            ValueError: no word, or too many.
        """
        from tokenry.corpora.cky import best_tree

        return best_tree(self, _checked(words), self._starts(root), smooth=smooth)

    def inside(self, words: list[str], *, root: str | None = None, smooth: bool = False) -> float:
        """Natural log of the sum over all trees of a sentence, -inf if there is none; arguments as for `parse`.

        With no `root` it is weighted by how often each label stands at the root.
        """
        from tokenry.corpora.cky import inside

        return inside(self, _checked(words), self._starts(root), smooth=smooth)

    def _starts(self, root: str | None) -> dict[str, float]:
        if root is not None:
            if root not in self.labels:
                from tokenry.core.choosing import suggest

                raise ValueError(f"no phrase {root!r} in the grammar.{suggest(root, self.labels)}")
            return {root: 1.0}
        return {label: n / self.n_trees for label, n in sorted(self.roots.items())}

    def unknown(self, tag: str) -> float:
        """Probability of a word never seen, as one of this part of speech: Witten-Bell over the words it showed."""
        seen = self.words.get(tag)
        if not seen:
            return 0.0
        return len(seen) / (sum(seen.values()) + len(seen)) / (len(self.vocabulary) + 1)

    @functools.cached_property
    def depths(self) -> Mapping[str, int]:
        """The fewest levels below each label that reach words."""
        depths = dict.fromkeys(self.words, 1)
        for _ in range(len(self.rules) + 1):
            before = dict(depths)
            for label, sides in self.rules.items():
                found = [1 + max(depths[one] for one in side) for side in sides if all(one in depths for one in side)]
                if found:
                    depths[label] = min(depths.get(label, MAX_DEPTH), *found, MAX_DEPTH)
            if depths == before:
                break
        return depths

    @functools.cached_property
    def growth(self) -> float:
        """Spectral radius of the expected phrases below a phrase: at 1 or more, sampling needs its depth bound."""
        labels = sorted(self.rules)
        places = {label: place for place, label in enumerate(labels)}
        expected = np.zeros((len(labels), len(labels)))
        for (label, side), p in self.rule_probs.items():
            if label in places and side in self.rules[label]:
                for one in side:
                    if one in places:
                        expected[places[label], places[one]] += p
        return float(np.abs(np.linalg.eigvals(expected)).max(initial=0.0))

    def sample(self, rng: np.random.Generator, *, root: str | None = None, max_depth: int = 20) -> Tree:
        """Draw a tree by q; near the depth bound only rules that still end in time are drawn.

        Args:
            rng: the randomness.
            root: label of the whole; drawn as often as it was seen at the root when not given.
            max_depth: levels of the tree, words included.

        Raises:
            ValueError: no tree of `root` is so shallow.
        """
        starts = self._starts(root)
        usable = {label: p for label, p in starts.items() if self.depths[label] <= min(max_depth, MAX_DEPTH)}
        if not usable:
            least = min(self.depths[label] for label in starts)
            raise ValueError(f"max_depth={max_depth}; the shallowest tree has {least} levels. Allow as many.")
        return self._grown(_drawn(usable, rng), min(max_depth, MAX_DEPTH), rng)

    def _grown(self, label: str, depth: int, rng: np.random.Generator) -> Tree:
        sides = self.rules.get(label, {})
        choices: dict[tuple, float] = {
            (False, side): n for side, n in sides.items() if all(self.depths[one] < depth for one in side)
        }
        choices |= {(True, (word,)): n for word, n in self.words.get(label, {}).items()}
        is_leaf, side = _drawn(choices, rng)
        if is_leaf:
            return Tree(label, word=side[0])
        children = tuple(self._grown(one, depth - 1, rng) for one in side)
        return Tree(label, children, head=self._usual_heads[label, side])

    @functools.cached_property
    def _usual_heads(self) -> Mapping[Rule, int]:
        found: dict[Rule, Counter] = defaultdict(Counter)
        for context, shapes in self._children.counts.items():
            if len(context) == 1:
                for (side, head), n in shapes.items():
                    found[context[0], side][head] += n
        return {rule: min(heads, key=lambda place: (-heads[place], place)) for rule, heads in found.items()}


def _head(tree: Tree) -> tuple[str, str]:
    return tree.head_leaf.label, tree.head_leaf.word


def _shape(node: Tree) -> tuple[tuple[str, ...], int]:
    return tuple(child.label for child in node.children), node.head


def _child_contexts(node: Tree) -> tuple[tuple, ...]:
    tag, word = _head(node)
    return (node.label, tag, word), (node.label, tag), (node.label,)


def _head_contexts(node: Tree, child: Tree) -> tuple[tuple, ...]:
    tag, word = _head(node)
    return (child.label, node.label, tag, word), (child.label, node.label, tag), (child.label,), ()


def _drawn(weights: Mapping, rng: np.random.Generator) -> object:
    """A key, as often as its weight says; the order of the mapping does not matter."""
    keys = sorted(weights)
    shares = np.cumsum([weights[key] for key in keys], dtype=np.float64)
    return keys[min(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")), len(keys) - 1)]


def _checked(words: list[str]) -> list[str]:
    if not 1 <= len(words) <= MOST_WORDS:
        raise ValueError(f"a sentence of {len(words)} words; need 1 to {MOST_WORDS}. Cut the text into sentences.")
    return list(words)
