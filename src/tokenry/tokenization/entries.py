"""What stands in a vocabulary: the class and script of every entry, and the entries no text can ever produce.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989; classes), Fishing for Magikarp: Automatically Detecting Under-trained Tokens in Large Language Models (arXiv
2405.05417; unreachable entries).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tokenry.core.alphabets import METASPACE, to_byte_level
from tokenry.core.hf_json import alphabet_of, model_type
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.composition import CLASSES, composition

__all__ = ["CLASSES", "entry_classes", "entry_scripts", "is_space", "shown", "unreachable_entries"]

_BATCH = 4096
_AT_ONCE = 128
_NEIGHBOURS = "a e1.0zZ\n"


def entry_classes(vocab: Vocab) -> list[str]:
    """The class of every id, one of `CLASSES`; together they are a partition. See `composition.composition`."""
    return composition(vocab).class_names


def entry_scripts(vocab: Vocab) -> list[str]:
    """The script of every id: "Latin", ..., "Mixed" where letters of several scripts meet, "Common" without letters,
    "Fragment" where characters are cut, "Special" for control and unused ids."""
    return composition(vocab).script_names


def unreachable_entries(vocab: Vocab) -> dict[int, str]:
    """Ids that no text can produce, with the reason.

    "merges": the model, given exactly this entry, returns something else. For BPE no longer pre-token can produce the
    entry either: within its span the same merges happen in the same order. "cut": the model would return it, but the
    normaliser changes the entry's text, or the pre-tokeniser cuts inside it, alone and beside letters, digits,
    punctuation, spaces and line breaks. Special and unused ids and entries matched before the model (added tokens) are
    not looked at; byte fragments only by the model, since no text is a fragment alone.

    Paper: Fishing for Magikarp (arXiv 2405.05417), section 3.1, sharpened for BPE.
    """
    added = {token["id"] for token in vocab.spec["added_tokens"]}
    ids = [i for i, kind in enumerate(vocab.kinds.tolist()) if kind == Kind.NORMAL and i not in added]
    texts = {i: text for i in ids if (text := _text(vocab.tokens[i])) is not None}
    # What one encoding yields is reachable by definition, and far the most are settled so: first by our own engine,
    # which encodes each word once, then by the library.
    rest = list(texts.items())
    for before, at_once in (("\n", _AT_ONCE), ("", 1), ("\n", 1)):
        produced_V = _produced(vocab, [before + text for _, text in rest], at_once)
        rest = [(i, text) for i, text in rest if not produced_V[i]]
    for neighbours in (("", ""), ("\n", "")):
        rest = list(_not_encoded(vocab, rest, *neighbours))
    doubtful = [i for i in ids if i not in texts] + [i for i, _ in rest]
    found = {i: "merges" for i in doubtful if not _model_returns(vocab, i)}
    rest = [(i, text) for i, text in rest if i not in found]
    for neighbours in (("a", ""), ("", "a"), (" ", ""), ("1", ""), (".", ""), ("a", "a")):
        rest = list(_not_encoded(vocab, rest, *neighbours))
    found.update({i: "cut" for i, text in rest if not _stays_whole(vocab, i, text)})
    return dict(sorted(found.items()))


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _model_returns(vocab: Vocab, token_id: int) -> bool:
    """Whether the bare model, given the entry (as a word or inside one), returns it."""
    tokenize, literal, model = vocab.backend.model.tokenize, vocab.literal(token_id), vocab.spec["model"]
    if model_type(vocab.spec) == "WordPiece":
        prefix = model.get("continuing_subword_prefix", "##")
        if literal.startswith(prefix) and literal != prefix:
            return any(token_id in _ids(tokenize(c + literal[len(prefix) :])) for c in _NEIGHBOURS)
    elif suffix := model.get("end_of_word_suffix"):
        if literal.endswith(suffix):
            return _ids(tokenize(literal.removesuffix(suffix))) == [token_id]
        return any(token_id in _ids(tokenize(literal + c)) for c in _NEIGHBOURS)
    elif alphabet_of(vocab.spec) == "byte-level" and to_byte_level(vocab.tokens[token_id]) != literal:
        # Spelled outside the byte alphabet: no text is ever spelled so.
        return False
    return _ids(tokenize(literal)) == [token_id]


def _ids(tokens: list) -> list[int]:
    return [token.id for token in tokens]


def _produced(vocab: Vocab, texts: Sequence[str], at_once: int) -> np.ndarray:
    """bool (V,): ids in the encodings of these texts, so many end to end, by our merge engine.

    May leave some out, never adds one. Left out: all ids of a model that is no plain BPE or drops characters, and texts
    which may hold an added token.
    """
    from tokenry.core.pretokens import distinct_pretokens
    from tokenry.tokenization.counting import AddedLiterals
    from tokenry.tokenization.word_tables import encode_table

    produced_V, model = np.zeros(vocab.size, bool), vocab.spec["model"]
    affixed = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    plain = model_type(vocab.spec) == "BPE" and not affixed and not model.get("dropout")
    if not plain or not len(vocab.merges) or not texts:
        return produced_V
    whole = ["".join(texts[start : start + at_once]) for start in range(0, len(texts), at_once)]
    words = distinct_pretokens(AddedLiterals(vocab).without(whole), vocab)
    try:
        table = encode_table(vocab, words, np.ones(len(words), np.int64))
    except ValueError:  # a character without entry
        return produced_V
    produced_V[table.symbols] = True
    return produced_V


def _not_encoded(vocab: Vocab, entries: list[tuple[int, str]], before: str, after: str) -> Iterator[tuple[int, str]]:
    """The entries whose id does not turn up when their text is encoded between two neighbours."""
    encode = vocab.backend.encode_batch_fast
    for start in range(0, len(entries), _BATCH):
        some = entries[start : start + _BATCH]
        found = encode([before + text + after for _, text in some], add_special_tokens=False)
        for entry, encoding in zip(some, found, strict=True):
            if entry[0] not in encoding.ids:
                yield entry


def _stays_whole(vocab: Vocab, token_id: int, text: str) -> bool:
    """Whether some pre-token holds the whole entry, so that a text may exist in which the model returns it."""
    backend, wanted, model = vocab.backend, vocab.literal(token_id), vocab.spec["model"]
    wanted = wanted.removeprefix(model.get("continuing_subword_prefix") or "")
    wanted = wanted.removesuffix(model.get("end_of_word_suffix") or "")
    for before in ("", "a", ".", "\n", " "):
        for after in ("", "a", "e", "l", "s", "1", ".", " a"):
            whole = before + text + after
            if backend.normalizer is not None:
                whole = backend.normalizer.normalize_str(whole)
            words = [whole]
            if backend.pre_tokenizer is not None:
                words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(whole)]
            if any(wanted in word for word in words):
                return True
    return False


def shown(vocab: Vocab, token_id: int) -> str:
    """An entry as a reader sees it: its text, broken bytes escaped; the stored string of a special entry."""
    data = vocab.tokens[token_id]
    return vocab.literal(token_id) if data is None else data.decode("utf-8", "backslashreplace")


def is_space(data: bytes | None) -> bool:
    """Whether an entry adds white space only."""
    text = _text(data or b"")
    return bool(text) and text.replace(METASPACE, " ").isspace()
