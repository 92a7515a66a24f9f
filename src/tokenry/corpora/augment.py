"""More labelled texts from a few: phrases of one class change places, by the grammar of that class.

A phrase is replaced by another of its class with the same label, the same relation to the phrase around it and a head
that agrees (number, tense); words of open classes are replaced by others of the same tag in the class, or by synonyms
of a plug-in. So every new tree is one the class's grammar derives (with synonyms: but for the new words). Each new text
knows what it came from, and how much better its own class explains it than the next one.

Differs from the paper's code, which joins phrases by templates of part-of-speech patterns: there a text need not be
derivable. Phrases here keep their place in a whole sentence, as the paper describes it.

Paper: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokenry.corpora.parse_trees import Tree, detokenise
from tokenry.corpora.subtree_pool import Parsed, SubtreePool, features_of, key_of

__all__ = ["Augmented", "Change", "Constraints", "Parsed", "SubtreePool", "augment", "margin_of", "undo"]

Synonyms = Callable[[str, str], Sequence[str]]
"""(word, part of speech) to words of the same part of speech."""

NEGATORS = frozenset(
    ["not", "n't", "n’t", "no", "never", "none", "nobody", "nothing", "neither", "nor", "nowhere", "hardly",
     "barely", "without"]
)  # fmt: skip
_OPEN = ("NN", "VB", "RB", "JJ", "NOUN", "PROPN", "VERB", "ADJ", "ADV")


@dataclass(frozen=True)
class Constraints:
    """What may change, and what a new text must hold.

    Attributes:
        swaps: phrases changed in a sentence, at most.
        fill: share of words of open classes that are replaced by another of the same tag in the class.
        synonym: share of words of open classes that are replaced by a synonym, where the plug-in has one.
        protected: words that stay, with the phrases that hold them: negators turn a label around. Unless it is empty,
            words that a treebank marks as negative stay too.
        longest: words of a sentence, at most.
        margin: a text is dropped when log p under its own class's grammar is not this much (nats a word) above that
            of every other class; None keeps all.
        tries: draws for each text asked for, at most.
    """

    swaps: int = 2
    fill: float = 0.0
    synonym: float = 0.0
    protected: frozenset[str] = NEGATORS
    longest: int = 60
    margin: float | None = 0.0
    tries: int = 20

    def __post_init__(self) -> None:
        if self.swaps < 0 or self.longest < 1 or self.tries < 1:
            raise ValueError(
                f"swaps={self.swaps}, longest={self.longest}, tries={self.tries}; need swaps of 0 or more, and at "
                "least 1 of the others."
            )
        for name in ("fill", "synonym"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}; need a share from 0 to 1.")


@dataclass(frozen=True)
class Change:
    """One replacement.

    Attributes:
        sentence: number of the sentence.
        path: the way to the node from the root of the sentence.
        before: what stood there.
        after: what stands there now.
        source: id of the document it came from; "" for a synonym.
        kind: "phrase", "word" or "synonym".
    """

    sentence: int
    path: tuple[int, ...]
    before: Tree
    after: Tree
    source: str
    kind: str


@dataclass(frozen=True)
class Augmented:
    """A new text.

    Attributes:
        text: as it reads.
        label: its class.
        trees: of its sentences.
        base: id of the document it began as.
        changes: in the order they were made; `undo` takes them back.
        spans: (first character, the one after the last) of every change, in the order of `changes`.
        log_p: under the grammar of its class, nats.
        margin: log p under its own class less the best of the others, nats a word; NaN with one class.
        distance: share of words and word pairs not shared with the nearest original (Jaccard), 0 a copy.
    """

    text: str
    label: str
    trees: tuple[Tree, ...]
    base: str
    changes: tuple[Change, ...]
    spans: tuple[tuple[int, int], ...]
    log_p: float
    margin: float
    distance: float

    @property
    def sources(self) -> list[str]:
        """Ids of all documents that something of it came from, the base first."""
        return list(dict.fromkeys([self.base, *(change.source for change in self.changes if change.source)]))


def augment(
    pool: SubtreePool,
    n: int,
    rng: np.random.Generator,
    *,
    label: str,
    constraints: Constraints = Constraints(),
    synonyms: Synonyms | None = None,
) -> list[Augmented]:
    """New texts of one class, all different from each other and from the originals of every class.

    Args:
        pool: of all classes: the others say what a text of this class must not read like.
        n: how many; fewer come when the class has no more to give (`Constraints.tries`).
        rng: the randomness.
        label: the class.
        constraints: what may change.
        synonyms: needed for `Constraints.synonym`.

    Raises:
        ValueError: no such class, a negative n, or synonyms are asked for and there is no plug-in.

    Paper: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916).
    """
    if label not in pool.documents:
        from tokenry.core.choosing import suggest

        raise ValueError(f"no class {label!r}.{suggest(label, pool.documents)} There are {', '.join(pool.documents)}.")
    if n < 0 or (constraints.synonym and synonyms is None):
        raise ValueError(f"n={n}, synonym={constraints.synonym}; need n >= 0, and a plug-in where synonyms are wanted.")
    held = pool.documents[label]
    seen = {document.text for documents in pool.documents.values() for document in documents}
    made: list[Augmented] = []
    for _ in range(n * constraints.tries):
        if len(made) == n:
            break
        base = held[int(rng.integers(len(held)))]
        trees, changes = [], []
        for number, tree in enumerate(base.trees):
            tree, found = _changed(pool, tree, (number, label), constraints, synonyms, rng)
            trees.append(tree)
            changes += found
        if not changes or any(len(tree.leaves) > constraints.longest for tree in trees):
            continue
        new = _finished(pool, label, base.id, tuple(trees), changes)
        safe = constraints.margin is None or math.isnan(new.margin) or new.margin > constraints.margin
        if new.text not in seen and safe:
            seen.add(new.text)
            made.append(new)
    return made


def margin_of(said: str) -> float | None:
    """A margin as typed: a number of nats a word, or none.

    Raises:
        ValueError: it is neither.
    """
    if said.strip().lower() == "none":
        return None
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"margin {said!r}; need a number of nats a word such as 0 or 0.1, or none.")
    return value


def undo(new: Augmented) -> tuple[Tree, ...]:
    """The trees of the document that a new text began as: all changes taken back, the last one first."""
    trees = list(new.trees)
    for change in reversed(new.changes):
        trees[change.sentence] = trees[change.sentence].with_at(change.path, change.before)
    return tuple(trees)


def _changed(
    pool: SubtreePool,
    tree: Tree,
    where: tuple[int, str],
    constraints: Constraints,
    synonyms: Synonyms | None,
    rng: np.random.Generator,
) -> tuple[Tree, list[Change]]:
    """A sentence with phrases and words replaced."""
    sentence, label = where
    changes: list[Change] = []
    spots = [(path, node) for path, node in tree.nodes() if path and node.word is None]
    wanted = int(rng.integers(1, constraints.swaps + 1)) if constraints.swaps else 0
    for spot in rng.permutation(len(spots)):
        if len(changes) == wanted:
            break
        path, node = spots[spot]
        # Nested changes would hide one another: what was replaced is left alone, and so is what holds it.
        if any(_nested(path, change.path) for change in changes) or _holds(node, constraints.protected):
            continue
        key = key_of(tree.at(path[:-1]), path[-1])
        others = [one for one in pool.phrases[label][key] if one[1].words != node.words]
        others = [one for one in others if not _holds(one[1], constraints.protected)]
        if others:
            source, new = others[int(rng.integers(len(others)))]
            changes.append(Change(sentence, path, node, new, source, "phrase"))
            tree = tree.with_at(path, new)
    for path, leaf in list(tree.nodes()):
        if leaf.word is None or not leaf.label.startswith(_OPEN) or _holds(leaf, constraints.protected):
            continue
        change = _new_word(pool.words[label][leaf.label], leaf, constraints, synonyms, rng)
        if change is not None:
            new, source, kind = change
            changes.append(Change(sentence, path, leaf, new, source, kind))
            tree = tree.with_at(path, new)
    return tree, changes


def _new_word(
    words: Sequence[tuple[str, Tree]],
    leaf: Tree,
    constraints: Constraints,
    synonyms: Synonyms | None,
    rng: np.random.Generator,
) -> tuple[Tree, str, str] | None:
    draw = rng.random()
    if draw < constraints.synonym and synonyms is not None:
        others = sorted(set(synonyms(leaf.word, leaf.label)) - constraints.protected - {leaf.word})
        if others:
            return replace(leaf, word=others[int(rng.integers(len(others)))]), "", "synonym"
    elif draw < constraints.synonym + constraints.fill:
        pool = [one for one in words if one[1].word != leaf.word and not _holds(one[1], constraints.protected)]
        if pool:
            source, new = pool[int(rng.integers(len(pool)))]
            return new, source, "word"
    return None


def _nested(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _holds(node: Tree, protected: frozenset[str]) -> bool:
    # A treebank of another language marks its negators: Polarity=Neg ends the tag.
    return any(leaf.word.lower() in protected or (protected and leaf.label.endswith(".Neg")) for leaf in node.leaves)


def _finished(pool: SubtreePool, label: str, base: str, trees: tuple[Tree, ...], changes: list[Change]) -> Augmented:
    pieces, places, at = [], [], 0
    for tree in trees:
        text, spans = detokenise(tree.leaves)
        places.append([(begin + at, end + at) for begin, end in spans])
        pieces.append(text)
        at += len(text) + 1
    spans = []
    for change in changes:
        first, last = trees[change.sentence].span(change.path)
        words = places[change.sentence][first:last]
        spans.append((words[0][0], words[-1][1]))
    log_ps = pool.log_ps(trees)
    n_words = sum(len(tree.leaves) for tree in trees)
    others = [value for name, value in log_ps.items() if name != label]
    margin = (log_ps[label] - max(others)) / n_words if others else math.nan
    features = features_of(trees)
    distance = 1 - max(len(features & one) / len(features | one) for one in pool.features[label])
    return Augmented(
        " ".join(pieces), label, trees, base, tuple(changes), tuple(spans), log_ps[label], margin, distance
    )
