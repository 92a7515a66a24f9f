"""Lexicalised trees out of a dependency treebank (CoNLL-U: Universal Dependencies, PUD), so that it can feed a grammar.

The conversion, which is flat and keeps every annotated head:

- A word becomes a leaf. Its label is the treebank's own tag (XPOS) where all tags of the sentence are Penn's, which say
  number and tense; else the universal one (UPOS) with the features that must agree (NOUN.Acc.Plur).
- A word with dependents becomes a phrase of the words below it, in the order of the text; the word is its head. So does
  a single word that is a subject, an object or the like. Every phrase keeps its relation.
- The phrase is named by its head and its relation: root S (with or without dependents); ccomp, csubj, advcl, acl,
  relcl SBAR; a nominal with a `case` child PP; NOUN, PROPN, PRON, NUM NP; VERB, AUX VP; ADJ ADJP; ADV ADVP; ADP PP;
  else X.
- Multi-word tokens (du) are written as their words (de le), and words are divided by spaces: texts come out so.
- A sentence whose phrases are not stretches of the text (non-projective) has no such tree and is passed over, counted.

Papers: Universal Dependencies v2 (arXiv 2004.10643); ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text
Classification (arXiv 2112.11916).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from tokenry.corpora.parse_trees import MAX_DEPTH, MAX_NODES, Tree

__all__ = ["Sentence", "Skipped", "read_conllu"]

_PHRASES = {"NOUN": "NP", "PROPN": "NP", "PRON": "NP", "NUM": "NP", "VERB": "VP", "AUX": "VP", "ADJ": "ADJP",
            "ADV": "ADVP", "ADP": "PP"}  # fmt: skip
_NOMINAL = frozenset(["nsubj", "nsubjpass", "obj", "dobj", "iobj", "obl", "pobj", "dative", "attr", "conj", "appos"])
_CLAUSES = frozenset(["ccomp", "csubj", "advcl", "acl", "relcl"])
_PENN = frozenset(
    ["CC", "CD", "DT", "EX", "FW", "IN", "JJ", "JJR", "JJS", "LS", "MD", "NN", "NNS", "NNP", "NNPS", "PDT", "POS",
     "PRP", "PRP$", "RB", "RBR", "RBS", "RP", "SYM", "TO", "UH", "VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "WDT",
     "WP", "WP$", "WRB", "ADD", "AFX", "GW", "HYPH", "NFP", "XX", "#", "$", ".", ",", ":", "''", "``", "-LRB-",
     "-RRB-", '"']
)  # fmt: skip
_AGREEING = ("Case", "Number", "Person", "Tense", "VerbForm", "Polarity")


@dataclass(frozen=True)
class Sentence:
    """One sentence of a treebank.

    Attributes:
        id: its `sent_id`, or its number.
        text: as it was written.
        tree: the lexicalised tree.
    """

    id: str
    text: str
    tree: Tree


@dataclass
class Skipped:
    """Sentences without a tree: reason -> how many, and the first document that was not readable."""

    counts: dict[str, int] = field(default_factory=dict)
    first: str = ""

    def add(self, reason: str) -> None:
        """Count one."""
        self.counts[reason] = self.counts.get(reason, 0) + 1


def read_conllu(text: str, *, skipped: Skipped | None = None) -> Iterator[Sentence]:
    """Sentences of CoNLL-U text as trees.

    Args:
        text: CoNLL-U; sentences end with an empty line.
        skipped: counts the sentences that have no tree (non-projective, too large).

    Raises:
        ValueError: a line that has not ten columns, a head that is no number or names no word, no root or several;
            the message has the line.
    """
    skipped = Skipped() if skipped is None else skipped
    rows: list[list[str]] = []
    facts: dict[str, str] = {}
    number = 0
    for line_number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if not line.strip():
            if rows:
                number += 1
                made = _tree(rows, line_number, skipped)
                if made is not None:
                    words = " ".join(row[1] for row in rows)
                    yield Sentence(facts.get("sent_id", str(number)), facts.get("text", words), made)
            rows, facts = [], {}
        elif line.startswith("#"):
            name, _, value = line[1:].partition("=")
            facts[name.strip()] = value.strip()
        else:
            row = line.split("\t")
            if len(row) != 10:
                raise ValueError(f"CoNLL-U line {line_number} has {len(row)} columns; need 10, divided by tabs.")
            if "-" not in row[0] and "." not in row[0]:  # no multi-word ranges, no empty nodes
                rows.append(row)


def _tree(rows: list[list[str]], line_number: int, skipped: Skipped) -> Tree | None:
    if len(rows) > MAX_NODES // 2:
        skipped.add("too large")
        return None
    try:
        places = {row[0]: place for place, row in enumerate(rows)}
        heads = [-1 if row[6] == "0" else places[row[6]] for row in rows]
    except KeyError as error:
        raise ValueError(
            f"CoNLL-U sentence before line {line_number}: {error} is the head of a word but no word of the sentence. "
            "Give a treebank with heads."
        ) from None
    if heads.count(-1) != 1:
        raise ValueError(
            f"CoNLL-U sentence before line {line_number} has {heads.count(-1)} roots; need one word with head 0."
        )
    below: list[list[int]] = [[] for _ in rows]
    for place, head in enumerate(heads):
        if head >= 0:
            below[head].append(place)
    order, depth = [heads.index(-1)], {heads.index(-1): 1}
    for place in order:
        for child in below[place]:
            depth[child] = depth[place] + 1
            order.append(child)
    if len(order) < len(rows):
        raise ValueError(f"CoNLL-U sentence before line {line_number}: heads run in a circle; need a tree.")
    if max(depth.values()) >= MAX_DEPTH:
        skipped.add("too deep")
        return None
    penn = all(row[4] in _PENN for row in rows)
    leaves = [Tree(row[4] if penn else _tag(row), word=row[1]) for row in rows]
    made: dict[int, tuple[Tree, int, int]] = {}
    for place in reversed(order):
        phrase = _phrase(place, below[place], rows, leaves, made)
        if phrase is None:
            skipped.add("non-projective")
            return None
        made[place] = phrase
    return made[order[0]][0]


def _tag(row: list[str]) -> str:
    """UPOS with the features that must agree when a phrase is replaced."""
    said = dict(one.partition("=")[::2] for one in row[5].split("|"))
    return ".".join([row[3], *(said[name] for name in _AGREEING if name in said)])


def _phrase(
    place: int, below: list[int], rows: list[list[str]], leaves: list[Tree], made: dict[int, tuple[Tree, int, int]]
) -> tuple[Tree, int, int] | None:
    """The tree of a word with its first leaf and the one after its last; None if it is not one stretch."""
    row, leaf = rows[place], leaves[place]
    parts = sorted([*(made[child] for child in below), (leaf, place, place + 1)], key=lambda part: part[1])
    if any(part[1] != before[2] for before, part in itertools.pairwise(parts)):
        return None
    relation = row[7].partition(":")[0]
    if not below and relation != "root" and relation not in _NOMINAL:
        return leaf, place, place + 1
    head = next(number for number, part in enumerate(parts) if part[0] is leaf)
    has_case = any(rows[child][7].partition(":")[0] == "case" for child in below)
    if relation == "root":
        label = "S"
    elif relation in _CLAUSES:
        label = "SBAR"
    else:
        label = _PHRASES.get(row[3], "X")
        label = "PP" if has_case and label == "NP" else label
    made_of = tuple(part[0] for part in parts)
    return Tree(label, made_of, head=head, relation=relation), parts[0][1], parts[-1][2]
