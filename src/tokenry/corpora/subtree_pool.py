"""The phrases of labelled texts, by what they may stand for, with the grammar of every class.

Paper: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916).
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tokenry.corpora.grammar import LexicalizedPCFG
from tokenry.corpora.parse_trees import Tree, detokenise

__all__ = ["Parsed", "SubtreePool", "agreement", "features_of", "key_of", "lowered"]

_NUMBERS = {"NN": "N.one", "NNP": "N.one", "NNS": "N.many", "NNPS": "N.many"}
_PROPER = frozenset(["NNP", "NNPS", "PROPN"])


@dataclass(frozen=True)
class Parsed:
    """A labelled document as trees.

    Attributes:
        id: of the document.
        label: its class.
        trees: of its sentences, in order.
    """

    id: str
    label: str
    trees: tuple[Tree, ...]

    @functools.cached_property
    def text(self) -> str:
        """The document written from its trees."""
        return " ".join(detokenise(tree.leaves)[0] for tree in self.trees)


def agreement(leaf: Tree) -> str:
    """What must agree when a head is replaced: number of a noun, tense and person of a verb; else the tag itself."""
    return _NUMBERS.get(leaf.label, leaf.label)


def key_of(parent: Tree, place: int) -> tuple[str, str, str, str]:
    """When two phrases may stand for each other: label, agreement of the head, side, and relation to what is around.

    The relation is the treebank's; where there is none, the label of the phrase around stands for it.
    """
    node = parent.children[place]
    side = "head" if place == parent.head else "before" if place < parent.head else "behind"
    many = node.label in ("NP", "NX") and any(map(_joins, node.children))
    return node.label, "N.many" if many else agreement(node.head_leaf), side, node.relation or parent.label


def _joins(node: Tree) -> bool:
    """A conjunction, or a conjunct of Universal Dependencies, which has it inside."""
    return node.label in ("CC", "CCONJ") or (node.relation == "conj" and any(map(_joins, node.children)))


def lowered(tree: Tree) -> Tree:
    """The tree with the first word in small letters, unless it is a name, "I", or has capitals further on."""
    path: tuple[int, ...] = ()
    node = tree
    while node.word is None:
        node, path = node.children[0], (*path, 0)
    word = node.word
    keeps = (
        node.label.partition(".")[0] in _PROPER
        or word == "I"
        or word.startswith(("I'", "I’"))
        or word[1:] != word[1:].lower()
    )
    return tree if keeps else tree.with_at(path, replace(node, word=word[:1].lower() + word[1:]))


@dataclass(eq=False)
class SubtreePool:
    """Phrases and words of every class, and its grammar.

    Attributes:
        documents: class -> its documents.
        grammars: class -> grammar of its trees.
        phrases: class -> key (`key_of`) -> (document id, phrase), in the order of the documents.
        words: class -> tag -> (document id, leaf).
    """

    documents: dict[str, list[Parsed]]
    grammars: dict[str, LexicalizedPCFG]
    phrases: dict[str, dict[tuple, list[tuple[str, Tree]]]] = field(repr=False)
    words: dict[str, dict[str, list[tuple[str, Tree]]]] = field(repr=False)

    @classmethod
    def from_trees(cls, documents: Iterable[Parsed]) -> "SubtreePool":
        """Take labelled documents apart.

        Raises:
            ValueError: no document, one without a tree, or an id twice.

        Paper: ALP (arXiv 2112.11916), syntactic frames and the pool of their slots.
        """
        by_class: dict[str, list[Parsed]] = defaultdict(list)
        seen: set[str] = set()
        for document in documents:
            if not document.trees or document.id in seen:
                why = "has no tree" if not document.trees else "is there twice"
                raise ValueError(f"document {document.id!r} {why}; need a tree for each and ids of their own.")
            seen.add(document.id)
            by_class[document.label].append(replace(document, trees=tuple(map(lowered, document.trees))))
        if not by_class:
            raise ValueError("no document to augment; need at least one with a tree.")
        classes = dict(sorted(by_class.items()))
        grammars = {
            label: LexicalizedPCFG.from_trees(tree for one in held for tree in one.trees)
            for label, held in classes.items()
        }
        phrases: dict = {label: defaultdict(list) for label in classes}
        words: dict = {label: defaultdict(list) for label in classes}
        for label, held in classes.items():
            for document in held:
                for tree in document.trees:
                    for _, node in tree.nodes():
                        for place, child in enumerate(node.children):
                            if child.word is None:
                                phrases[label][key_of(node, place)].append((document.id, child))
                    for leaf in tree.leaves:
                        words[label][leaf.label].append((document.id, leaf))
        return cls(classes, grammars, phrases, words)

    @functools.cached_property
    def features(self) -> dict[str, list[frozenset]]:
        """Words and word pairs of each original, by class."""
        return {label: [features_of(one.trees) for one in held] for label, held in self.documents.items()}

    def log_ps(self, trees: Sequence[Tree]) -> dict[str, float]:
        """Log probability of some sentences under every class's grammar."""
        return {label: sum(map(grammar.log_p, trees)) for label, grammar in self.grammars.items()}


def features_of(trees: Sequence[Tree]) -> frozenset:
    """Words and word pairs of some sentences, in small letters."""
    words = [word.lower() for tree in trees for word in tree.words]
    return frozenset(words) | frozenset(itertools.pairwise(words))
