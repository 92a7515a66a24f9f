"""Parse trees as data: read Penn brackets, find the head of every phrase, turn a tree back into text.

A tree comes from any parser that writes brackets ("(S (NP (PRP I)) (VP (VBP agree)))") or from a dependency treebank
(`dependency_trees`). Every phrase knows its head child, so every tree is lexicalised.

Papers: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916); the head
table is that of Head-Driven Statistical Models for Natural Language Parsing (Collins, 1999).
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tokenry.core.choosing import suggest

__all__ = ["HEAD_RULES", "MAX_DEPTH", "MAX_NODES", "Tree", "detokenise", "head_child", "read_trees"]

MAX_NODES, MAX_DEPTH = 5_000, 200
"""Largest tree that is read; a larger one is a broken file or an attack."""

HEAD_RULES = ("collins", "content")
"""`collins`: an auxiliary heads its verb phrase (has); `content`: the verb below it does (eaten)."""

_NOMINAL = frozenset(["NN", "NNP", "NNPS", "NNS", "NX", "POS", "JJR"])
# Phrase -> (where the search starts, labels from the most to the least wanted), Collins (1999), appendix A.
_TABLE: dict[str, tuple[str, list[str]]] = {
    phrase: (side, wanted)
    for phrase, side, *wanted in map(
        str.split,
        """
ADJP left NNS QP NN $ ADVP JJ VBN VBG ADJP JJR NP JJS DT FW RBR RBS SBAR RB
ADVP right RB RBR RBS FW ADVP TO CD JJR JJ IN NP JJS NN
CONJP right CC RB IN
FRAG right
INTJ left
LST right LS :
NAC left NN NNS NNP NNPS NP NAC EX $ CD QP PRP VBG JJ JJS JJR ADJP FW
PP right IN TO VBG VBN RP FW
PRN left
PRT right RP
QP left $ IN NNS NN JJ RB DT CD NCD QP JJR JJS
RRC right VP NP ADVP ADJP PP
S left TO IN VP S SBAR ADJP UCP NP
SBAR left WHNP WHPP WHADVP WHADJP IN DT S SQ SINV SBAR FRAG
SBARQ left SQ S SINV SBARQ FRAG
SINV left VBZ VBD VBP VB MD VP S SINV ADJP NP
SQ left VBZ VBD VBP VB MD VP SQ
UCP right
VP left TO VBD VBN MD VBZ VB VBG VBP VP ADJP NN NNS NP
WHADJP left CC WRB JJ ADJP
WHADVP right CC WRB
WHNP left WDT WP WP$ WHADJP WHPP WHNP
WHPP right IN TO FW
""".strip().splitlines(),
    )
}
_MARKS = frozenset([",", ".", ":", "``", "''", "-LRB-", "-RRB-", "PUNCT"])
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_WRITTEN = {**{sign: name for name, sign in _BRACKETS.items() if sign in "()"}}


@dataclass(frozen=True)
class Tree:
    """A phrase with its children, or a part of speech with its word.

    Attributes:
        label: of the phrase (NP) or part of speech (NN).
        children: none for a leaf.
        word: of a leaf, else None.
        head: which child is the head.
        relation: to the phrase around it, where the tree is a dependency treebank's; brackets do not say.
    """

    label: str
    children: tuple["Tree", ...] = ()
    word: str | None = None
    head: int = 0
    relation: str = ""

    @functools.cached_property
    def head_leaf(self) -> "Tree":
        """The leaf that the phrase is about."""
        return self if self.word is not None else self.children[self.head].head_leaf

    @functools.cached_property
    def leaves(self) -> tuple["Tree", ...]:
        """All leaves, in order."""
        return (self,) if self.word is not None else tuple(leaf for one in self.children for leaf in one.leaves)

    @property
    def words(self) -> list[str]:
        """The words, in order."""
        return [leaf.word for leaf in self.leaves]

    def nodes(self, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], "Tree"]]:
        """Every node with the way to it (child numbers from the root), parents first."""
        yield path, self
        for place, child in enumerate(self.children):
            yield from child.nodes((*path, place))

    def at(self, path: tuple[int, ...]) -> "Tree":
        """The node at the end of a path."""
        return functools.reduce(lambda node, place: node.children[place], path, self)

    def with_at(self, path: tuple[int, ...], new: "Tree") -> "Tree":
        """The tree with another subtree at the end of a path."""
        if not path:
            return new
        place, *rest = path
        children = list(self.children)
        children[place] = children[place].with_at(tuple(rest), new)
        return replace(self, children=tuple(children))

    def span(self, path: tuple[int, ...]) -> tuple[int, int]:
        """First leaf below a path, and the one after the last."""
        before, node = 0, self
        for place in path:
            before += sum(len(child.leaves) for child in node.children[:place])
            node = node.children[place]
        return before, before + len(node.leaves)

    def __str__(self) -> str:
        if self.word is not None:
            return f"({self.label} {_WRITTEN.get(self.word, self.word)})"
        return f"({self.label} {' '.join(map(str, self.children))})"


def read_trees(
    text: str, *, heads: str = "collins", max_nodes: int = MAX_NODES, max_depth: int = MAX_DEPTH
) -> list[Tree]:
    """Read bracketed trees.

    Function tags and indices are cut from labels (NP-SBJ-1 becomes NP), traces (-NONE-) and what they leave empty are
    left out, an outer bracket without a label is taken off, -LRB- becomes "(" and \\/ becomes "/".

    Args:
        text: any number of trees, any white space.
        heads: one of `HEAD_RULES`.
        max_nodes: of one tree.
        max_depth: of one tree, at most `MAX_DEPTH`.

    Raises:
        ValueError: brackets that do not close, a bracket without a label or with a word beside phrases, a tree that is
            too large or too deep; the message has the place.
    """
    if heads not in HEAD_RULES:
        raise ValueError(f"heads={heads!r}.{suggest(heads, HEAD_RULES)} Need one of {', '.join(HEAD_RULES)}.")
    limit = min(max_depth, MAX_DEPTH)
    trees: list[Tree] = []
    open_nodes: list[tuple[str | None, list[Tree | str]]] = []
    tokens = list(_TOKEN.finditer(text))
    n_nodes, place = 0, 0
    while place < len(tokens):
        token, at = tokens[place].group(), tokens[place].start()
        place += 1
        if token == "(":
            n_nodes = n_nodes + 1 if open_nodes else 1
            if len(open_nodes) >= limit or n_nodes > max_nodes:
                raise _broken(text, at, f"a tree of more than {limit} levels or {max_nodes:,} nodes")
            label = None
            if place < len(tokens) and tokens[place].group() not in "()":
                label = tokens[place].group()
                place += 1
            open_nodes.append((label, []))
        elif not open_nodes:
            raise _broken(text, at, f"{token!r} outside of any bracket")
        elif token == ")":
            made = _closed(*open_nodes.pop(), text=text, at=at, outer=not open_nodes, heads=heads)
            if made is not None:
                (open_nodes[-1][1] if open_nodes else trees).append(made)
        else:
            open_nodes[-1][1].append(token)
    if open_nodes:
        raise _broken(text, len(text), f"{len(open_nodes)} brackets that are never closed")
    return trees


def _closed(label: str | None, inside: list[Tree | str], *, text: str, at: int, outer: bool, heads: str) -> Tree | None:
    """The node of a bracket that was closed; None for a trace."""
    if label is None:
        if not outer or len(inside) != 1 or isinstance(inside[0], str):
            raise _broken(text, at, "a bracket without a label")
        return inside[0]
    if label == "-NONE-":
        return None
    words = [one for one in inside if isinstance(one, str)]
    if words:
        if len(inside) > 1:
            raise _broken(text, at, f"the word {words[0]!r} beside others in ({label} ...)")
        word = _BRACKETS.get(words[0]) or words[0].replace("\\/", "/").replace("\\*", "*")
        return Tree(_plain(label), word=word)
    if not inside:
        return None
    children = tuple(inside)
    return Tree(_plain(label), children, head=head_child(_plain(label), children, heads=heads))


def _plain(label: str) -> str:
    return label if label.startswith("-") else re.split(r"[-=]", label, maxsplit=1)[0] or label


def _broken(text: str, at: int, what: str) -> ValueError:
    line = text.count("\n", 0, at) + 1
    return ValueError(
        f"bracketed tree, line {line}, character {at}: {what}. Need Penn brackets such as (S (NP (PRP I)) (VP (VBP "
        "agree)))."
    )


def head_child(label: str, children: tuple[Tree, ...], *, heads: str = "collins") -> int:
    """Which child heads a phrase.

    Paper: Head-Driven Statistical Models for Natural Language Parsing (Collins, 1999), appendix A.
    """
    labels = [child.label for child in children]
    if label in ("NP", "NX"):
        found = _head_of_noun_phrase(children, labels)
    elif heads == "content" and label in ("VP", "SQ", "SINV") and "VP" in labels:
        found = labels.index("VP")
    else:
        found = _wanted(label, labels)
    # Coordination: the first conjunct, where the rule found one behind a conjunction.
    if found >= 2 and labels[found - 1] in ("CC", "CONJP") and label not in ("WHADJP", "WHADVP", "CONJP"):
        earlier = [place for place in range(found - 1) if labels[place] not in _MARKS]
        found = earlier[-1] if earlier else found
        while found >= 2 and labels[found - 1] == "," and labels[found - 2] == labels[found]:
            found -= 2
    return found


def _wanted(label: str, labels: list[str]) -> int:
    side, order = _TABLE.get(label, ("left", []))
    places = range(len(labels)) if side == "left" else range(len(labels) - 1, -1, -1)
    for wanted in order:
        for place in places:
            if labels[place] == wanted:
                return place
    return next((place for place in places if labels[place] not in _MARKS), places[0])


def _head_of_noun_phrase(children: tuple[Tree, ...], labels: list[str]) -> int:
    last = len(labels) - 1
    if children[last].word is not None and labels[last] == "POS":
        return last
    backwards = range(last, -1, -1)
    searches = (
        (backwards, _NOMINAL), (range(last + 1), {"NP"}), (backwards, {"$", "ADJP", "PRN"}), (backwards, {"CD"}),
        (backwards, {"JJ", "JJS", "RB", "QP"}),
    )  # fmt: skip
    for places, wanted in searches:
        for place in places:
            if labels[place] in wanted:
                return place
    return next((place for place in backwards if labels[place] not in _MARKS), last)


_STICKS_LEFT = re.compile(r"[.,;:!?%)\]}]|\.\.\.|['’](?:s|S|re|ve|ll|d|m|t)?|n['’]t")
_STICKS_RIGHT = frozenset(["(", "[", "{", "$", "#"])


def detokenise(leaves: Sequence[Tree]) -> tuple[str, list[tuple[int, int]]]:
    """Text of a sentence with its first letter capital, and where each leaf stands in it (character spans)."""
    pieces, spans, at, glued, quoted = [], [], 0, True, False
    for leaf in leaves:
        shown = {"``": '"', "''": '"'}.get(leaf.word, leaf.word)
        if shown == '"':
            sticks = quoted and leaf.word != "``"
            opens = quoted = not sticks
        elif leaf.label == "HYPH":  # right-sided, where a treebank cuts it in three
            sticks = opens = True
        else:
            sticks, opens = _STICKS_LEFT.fullmatch(shown) is not None, shown in _STICKS_RIGHT
        if not glued and not sticks:
            pieces.append(" ")
            at += 1
        if not spans:
            shown = shown[:1].upper() + shown[1:]
        pieces.append(shown)
        spans.append((at, at + len(shown)))
        at += len(shown)
        glued = opens
    return "".join(pieces), spans
