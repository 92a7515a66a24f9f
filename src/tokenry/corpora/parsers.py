"""From a document to its trees: by an installed parser, by trees that stand beside the text, or by your function.

Named ones:

- `column:NAME`: Penn brackets in a column of the documents; `conllu:NAME`: CoNLL-U in a column.
- `spacy:MODEL`: the dependency parser of any spaCy pipeline, as trees by `dependency_trees`.
- `benepar:MODEL`: phrases by benepar (its model benepar_en3 must be there) behind a spaCy pipeline, as in the paper;
  `stanza:LANG`: phrases by stanza.
- Your own, from a text to bracketed trees: a callable, `pkg.module:function` or `./file.py:function`. Such a file is
  run with your rights, and only because you named it: name only files you trust. Documents can name nothing.

Paper: ALP: Data Augmentation using Lexicalized PCFGs for Few-Shot Text Classification (arXiv 2112.11916), whose trees
are benepar's.
"""

from collections.abc import Callable, Iterable, Mapping

from tokenry.core.choosing import needs, resolve, suggest
from tokenry.corpora.dependency_trees import Skipped, read_conllu
from tokenry.corpora.parse_trees import Tree, read_trees

__all__ = ["PARSERS", "NoColumnError", "Parser", "conllu_of", "open_parser", "open_synonyms"]

Parser = Callable[[Mapping[str, object]], tuple[Tree, ...]]
"""A document (a row) to its trees."""

PARSERS = ("column", "conllu", "spacy", "benepar", "stanza")


class NoColumnError(ValueError):
    """The documents have no such column: wrong for all of them, not for one."""


def open_parser(name: object, *, heads: str = "collins", skipped: Skipped | None = None) -> Parser:
    """The parser a user named.

    Args:
        name: see the top of this file; or a callable from text to bracketed trees.
        heads: head rules, see `trees.HEAD_RULES`; a dependency treebank has heads of its own.
        skipped: counts sentences that a treebank has no tree for.

    The parser raises ValueError for a document it cannot read.

    Raises:
        ValueError: an unknown parser. ImportError: it is not installed. FileNotFoundError: its model is not.
    """
    kind, _, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in PARSERS and "." not in kind and (near := suggest(kind, PARSERS)):
        raise ValueError(f"parser {name!r} is not known.{near} Known: {', '.join(PARSERS)}, or your own function.")
    if kind in PARSERS and not rest:
        raise ValueError(f"parser {name!r} is half a name; need {kind}:NAME.")
    if kind == "column":
        return lambda row: tuple(read_trees(_given(row, rest), heads=heads))
    if kind == "conllu":
        return lambda row: tuple(one.tree for one in read_conllu(_given(row, rest), skipped=skipped))
    if kind == "spacy":
        parsed = _spacy(rest)
        return lambda row: tuple(one.tree for one in read_conllu(parsed(row["text"] or ""), skipped=skipped))
    if kind in ("benepar", "stanza"):
        bracketed = _benepar(rest) if kind == "benepar" else _stanza(rest)
    else:
        bracketed = resolve(name, dict.fromkeys(PARSERS, ""), kind="parser")
    return lambda row: tuple(read_trees(_brackets(bracketed, row["text"] or ""), heads=heads))


def _brackets(parser: Callable[[str], str], text: str) -> str:
    made = parser(text)
    if not isinstance(made, str):
        raise ValueError(f"the parser gave {type(made).__name__}; need text with brackets.")
    return made


def _given(row: Mapping[str, object], column: str) -> str:
    if column not in row:
        raise NoColumnError(f"no column {column!r} with trees.{suggest(column, row)} There are: {', '.join(row)}.")
    return str(row[column] or "")


def _pipeline(model: str) -> Callable:
    import spacy

    try:
        return spacy.load(model)
    except OSError as error:
        raise FileNotFoundError(
            f"spaCy has no pipeline {model!r} here ({str(error)[:60]}...). Install it: python -m spacy download "
            f"{model}; or name a folder."
        ) from None


def _spacy(model: str) -> Callable[[str], str]:
    needs("parsers", "spacy")
    pipeline = _pipeline(model)
    if "parser" not in pipeline.pipe_names:
        raise ValueError(f"spaCy pipeline {model!r} has {', '.join(pipeline.pipe_names)}; need one with a parser.")
    return lambda text: conllu_of(pipeline(text).sents)


def conllu_of(sentences: Iterable[Iterable]) -> str:
    """CoNLL-U text of sentences parsed by spaCy; white space is no word, what hangs on it hangs on its head."""
    blocks = []
    for sentence in sentences:
        words = [token for token in sentence if token.text.strip()]
        places = {token.i: number for number, token in enumerate(words, start=1)}
        rows = []
        for token in words:
            head = token.head
            while head.i not in places and head.head.i != head.i:
                head = head.head
            is_root = head.i == token.i or head.i not in places
            rows.append([str(places[token.i]), token.text, "_", token.pos_ or "X", token.tag_ or "_",
                         str(token.morph) or "_", "0" if is_root else str(places[head.i]),
                         "root" if is_root else token.dep_ or "dep", "_", "_"])  # fmt: skip
        blocks.append("\n".join("\t".join(row) for row in rows))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _benepar(model: str) -> Callable[[str], str]:
    needs("parsers", "spacy")
    try:
        import benepar  # noqa: F401
    except ModuleNotFoundError:
        raise ImportError(
            "benepar is not installed. It wants older versions of torch and transformers: install it in an environment "
            "of its own (pip install benepar spacy), or take --parser spacy:MODEL."
        ) from None

    pipeline = _pipeline(model)
    if "benepar" not in pipeline.pipe_names:
        pipeline.add_pipe("benepar", config={"model": "benepar_en3"})
    return lambda text: "\n".join(sentence._.parse_string for sentence in pipeline(text).sents)


def _stanza(language: str) -> Callable[[str], str]:
    needs("parsers", "stanza")
    import stanza

    pipeline = stanza.Pipeline(language, processors="tokenize,pos,constituency", verbose=False)
    return lambda text: "\n".join(str(sentence.constituency) for sentence in pipeline(text).sentences)


def open_synonyms(name: str | None) -> Callable[[str, str], list[str]] | None:
    """The synonyms a user named: none, `wordnet` (nltk with its data), or a function of (word, tag).

    Raises:
        FileNotFoundError: nltk has no WordNet. ImportError: there is no nltk. ValueError: no such function.
    """
    if name in (None, "none"):
        return None
    if name == "wordnet":
        needs("parsers", "nltk")
        from nltk.corpus import wordnet

        try:
            wordnet.ensure_loaded()
        except LookupError:
            raise FileNotFoundError(
                "nltk has no WordNet here. Get it once: python -m nltk.downloader wordnet; or name your own synonyms "
                "as ./file.py:function."
            ) from None
        return _wordnet
    return resolve(name, {}, kind="source of synonyms")


_BASE_FORMS = ("NN", "VB", "VBP", "JJ", "RB", "NOUN.Sing", "ADJ", "ADV")
"""Tags of words that stand as WordNet has them: a word of another form must not be replaced by a base form."""


def _wordnet(word: str, tag: str) -> list[str]:
    from nltk.corpus import wordnet

    if tag not in _BASE_FORMS and not tag.startswith(("ADJ.", "ADV.")):
        return []
    kind = {"N": wordnet.NOUN, "V": wordnet.VERB, "R": wordnet.ADV, "J": wordnet.ADJ}.get(tag[:1])
    kind = {"ADJ": wordnet.ADJ, "ADV": wordnet.ADV}.get(tag[:3], kind)
    names = {lemma.name() for synset in wordnet.synsets(word, pos=kind) for lemma in synset.lemmas()}
    return sorted(name for name in names if "_" not in name and name.lower() != word.lower())
