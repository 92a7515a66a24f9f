"""From a document to its trees: by an installed parser, by trees that stand beside the text, or by your function.

A parser is any callable from a text to bracketed trees. Named ones: `column:NAME` (brackets in a column of the
documents), `conllu:NAME` (CoNLL-U in a column), `spacy:MODEL` (spaCy with benepar), `stanza:LANG`, and your own as
`pkg.module:function` or `./file.py:function`.

Paper: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916), whose trees
are benepar's.
"""

from collections.abc import Callable, Mapping

from tokenry.core.choosing import needs, resolve
from tokenry.corpora.dependency_trees import Skipped, read_conllu
from tokenry.corpora.trees import Tree, read_trees

__all__ = ["PARSERS", "NoColumnError", "Parser", "open_parser", "open_synonyms"]

Parser = Callable[[Mapping[str, object]], tuple[Tree, ...]]
"""A document (a row) to its trees."""

PARSERS = ("column", "conllu", "spacy", "stanza")


class NoColumnError(ValueError):
    """The documents have no such column: wrong for all of them, not for one."""


def open_parser(name: object, *, heads: str = "collins", skipped: Skipped | None = None) -> Parser:
    """The parser a user named.

    Args:
        name: see the top of this file; or a callable from text to bracketed trees.
        heads: head rules, see `trees.HEAD_RULES`; a dependency treebank has heads of its own.
        skipped: counts sentences that a treebank has no tree for.

    Raises:
        ValueError: an unknown parser. ImportError: it is not installed.
    """
    kind, _, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind in PARSERS and not rest:
        raise ValueError(f"parser {name!r} is half a name; need {kind}:NAME.")
    if kind == "column":
        return lambda row: tuple(read_trees(_given(row, rest), heads=heads))
    if kind == "conllu":
        return lambda row: tuple(one.tree for one in read_conllu(_given(row, rest), skipped=skipped))
    if kind in ("spacy", "stanza"):
        bracketed = _spacy(rest) if kind == "spacy" else _stanza(rest)
    else:
        bracketed = resolve(name, {}, kind="parser")
    return lambda row: tuple(read_trees(bracketed(row["text"] or ""), heads=heads))


def _given(row: Mapping[str, object], column: str) -> str:
    if column not in row:
        from tokenry.core.choosing import suggest

        raise NoColumnError(f"no column {column!r} with trees.{suggest(column, row)} There are: {', '.join(row)}.")
    return str(row[column] or "")


def _spacy(model: str) -> Callable[[str], str]:
    needs("parsers", "spacy", "benepar")
    import benepar  # noqa: F401
    import spacy

    pipeline = spacy.load(model)
    if "benepar" not in pipeline.pipe_names:
        pipeline.add_pipe("benepar", config={"model": "benepar_en3"})
    return lambda text: "\n".join(sentence._.parse_string for sentence in pipeline(text).sents)


def _stanza(language: str) -> Callable[[str], str]:
    needs("parsers", "stanza")
    import stanza

    pipeline = stanza.Pipeline(language, processors="tokenize,pos,constituency", verbose=False)
    return lambda text: "\n".join(str(sentence.constituency) for sentence in pipeline(text).sentences)


def open_synonyms(name: str | None) -> Callable[[str, str], list[str]] | None:
    """The synonyms a user named: none, `wordnet` (nltk with its data), or a function of (word, tag)."""
    if name in (None, "none"):
        return None
    if name == "wordnet":
        needs("parsers", "nltk")
        return _wordnet
    return resolve(name, {}, kind="source of synonyms")


def _wordnet(word: str, tag: str) -> list[str]:
    from nltk.corpus import wordnet

    kind = {"N": wordnet.NOUN, "V": wordnet.VERB, "R": wordnet.ADV, "J": wordnet.ADJ}.get(tag[:1])
    try:
        found = wordnet.synsets(word, pos=kind)
    except LookupError as error:
        raise FileNotFoundError(
            "nltk has no WordNet here. Get it once: python -m nltk.downloader wordnet; or name your own synonyms as "
            "./file.py:function."
        ) from error
    # An inflected word must be replaced by one of the same form; WordNet gives base forms only.
    if tag not in ("NN", "VB", "VBP", "JJ", "RB", "NOUN", "ADJ", "ADV"):
        return []
    names = {lemma.name() for synset in found for lemma in synset.lemmas()}
    return sorted(name for name in names if "_" not in name and name.lower() != word.lower())
