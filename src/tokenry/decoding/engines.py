"""JSON schemas as constraints, through engines where installed: llguidance (a grammar), outlines-core (a regex).

outlines-core turns a schema into a regular expression, which our own automaton runs. llguidance parses; its matcher
answers about bytes, and `view_for` lets it judge tokens, and whole vocabularies, itself.
"""

# Axes: V vocabulary.

import json
from collections.abc import Sequence

import numpy as np

from tokenry.core.choosing import needs, suggest
from tokenry.core.vocab import Vocab
from tokenry.decoding.constraints import Constraint
from tokenry.decoding.regexes import Regex
from tokenry.decoding.token_masks import View

ENGINES = {"llguidance": "llguidance", "outlines": "outlines_core"}
"""Engine -> the module it needs."""


def json_schema(schema: dict | bool, *, engine: str | None = None) -> Constraint:
    """Text that is JSON of a schema.

    Args:
        schema: the JSON schema.
        engine: "llguidance" or "outlines"; None takes the first of them that is installed.

    Raises:
        ValueError: an unknown engine, or a schema it cannot read.
        ImportError: it is not installed.
    """
    if engine is None:
        engine = "llguidance" if _installed("llguidance") or not _installed("outlines_core") else "outlines"
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not known.{suggest(engine, ENGINES)} Known: {', '.join(ENGINES)}.")
    needs("constraints", ENGINES[engine])
    return _outlines_regex(schema) if engine == "outlines" else Grammar.of_schema(schema)


class Grammar(Constraint):
    """A grammar of llguidance over bytes.

    Args:
        grammar: as `LLMatcher` takes it; see `of_schema`.

    Raises:
        ValueError: the engine cannot read it.
    """

    def __init__(self, grammar: str) -> None:
        needs("constraints", "llguidance")
        from llguidance import LLMatcher, LLTokenizer

        self.grammar = grammar
        self._begin = _Matched(LLMatcher(LLTokenizer("byte"), grammar))
        _check(self._begin.matcher)

    @classmethod
    def of_schema(cls, schema: dict | bool) -> "Grammar":
        """JSON of a schema; single spaces are the only white space, lest a model go on with it for ever.

        Forcing is off: the engine would allow only the tokens by which its tokenizer spells what must come, and so
        change the law of the texts. `schema["x-guidance"]` sets the engine's own options.
        """
        needs("constraints", "llguidance")
        from llguidance import LLMatcher

        options = '%llguidance {"no_forcing": true}'
        if isinstance(schema, dict):
            schema = {**schema, "x-guidance": {"whitespace_pattern": " ", **schema.get("x-guidance", {})}}
        return cls(LLMatcher.grammar_from_lark(f"{options}\nstart: %json {json.dumps(schema)}\n"))

    def begin(self) -> "_Matched":
        """The matcher before any byte."""
        return self._begin

    def advance(self, state: "_Matched", data: bytes) -> "_Matched | None":
        """A copy of the matcher that has read on."""
        return state.after(tuple(data))

    def accepts(self, state: "_Matched") -> bool:
        """Whether the grammar is satisfied."""
        return state.matcher.is_accepting()

    def is_final(self, state: "_Matched") -> bool:
        """Whether the grammar takes nothing more."""
        return state.matcher.is_stopped()

    def view_for(self, vocab: Vocab, ends: Sequence[int]) -> View:
        """The engine's own view of a vocabulary."""
        return GrammarView(self.grammar, vocab, ends)


class _Matched:
    """A matcher that is never moved, with the tokens it has read; equal if those are."""

    __slots__ = ("matcher", "read")

    def __init__(self, matcher: object, read: tuple[int, ...] = ()) -> None:
        self.matcher, self.read = matcher, read

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Matched) and self.read == other.read

    def __hash__(self) -> int:
        return hash(self.read)

    def after(self, tokens: tuple[int, ...]) -> "_Matched | None":
        if not tokens:
            return self
        matcher = self.matcher.deep_copy()
        if matcher.try_consume_tokens(list(tokens)) < len(tokens):
            return None
        return _Matched(matcher, self.read + tokens)


class GrammarView:
    """A grammar as llguidance sees it through a vocabulary. See `token_masks.View`.

    Args:
        grammar: as `LLMatcher` takes it.
        vocab: the tokens, by their bytes.
        ends: ids that end a text.
    """

    def __init__(self, grammar: str, vocab: Vocab, ends: Sequence[int] = ()) -> None:
        from llguidance import LLMatcher, LLTokenizer
        from llguidance._tokenizer import TokenizerWrapper

        self.ends, self.n_checks, self.n_masks = tuple(ends), 0, 0
        self._size = vocab.size
        tokenizer = LLTokenizer(TokenizerWrapper(_Spelling(vocab, self.ends)), n_vocab=vocab.size + (not self.ends))
        self._begin = _Matched(LLMatcher(tokenizer, grammar))
        _check(self._begin.matcher)
        self._masks: dict[_Matched, np.ndarray] = {}

    def begin(self) -> _Matched:
        """The matcher before any token."""
        return self._begin

    def advance(self, state: _Matched, token: int) -> _Matched | None:
        """A copy of the matcher that has read the token."""
        return None if token in self.ends or token >= self._size else state.after((token,))

    def allows(self, state: _Matched, token: int) -> bool:
        """Ask the engine about one token."""
        if token in self.ends:
            return self.accepts(state)
        self.n_checks += 1
        return token < self._size and not state.matcher.is_stopped() and state.matcher.validate_tokens([token]) == 1

    def mask(self, state: _Matched) -> np.ndarray:
        """The engine's mask, bool (V,)."""
        if state not in self._masks:
            self.n_masks += 1
            if len(self._masks) >= 64:
                self._masks.clear()
            bits = np.frombuffer(state.matcher.deep_copy().compute_bitmask(), dtype=np.uint8)
            allowed_V = np.unpackbits(bits, bitorder="little")[: self._size].astype(bool)
            if state.matcher.is_stopped():
                allowed_V[:] = False
            allowed_V[list(self.ends)] = bool(self.ends) and self.accepts(state)
            self._masks[state] = allowed_V
        return self._masks[state]

    def accepts(self, state: _Matched) -> bool:
        """Whether the grammar is satisfied."""
        return state.matcher.is_accepting()

    def is_final(self, state: _Matched) -> bool:
        """Whether the grammar takes nothing more."""
        return state.matcher.is_stopped()


class _Spelling:
    """A vocabulary as the engine's tokenizer wrapper wants it; without an end token one is made up behind the last."""

    def __init__(self, vocab: Vocab, ends: Sequence[int]) -> None:
        self.tokens = [token if token else b"\xff<%d>" % i for i, token in enumerate(vocab.tokens)]
        self.special_token_ids = [i for i, token in enumerate(vocab.tokens) if not token]
        self.eos_token_id = ends[0] if ends else vocab.size
        self.bos_token_id = None
        if not ends:
            self.tokens.append(b"\xff<end>")
            self.special_token_ids.append(vocab.size)
        self._vocab = vocab

    def __call__(self, text: str | bytes) -> list[int]:
        data = text.encode() if isinstance(text, str) else bytes(text)
        return self._vocab.decompose(data)


def _outlines_regex(schema: dict | bool) -> Regex:
    from outlines_core.json_schema import build_regex_from_schema

    try:
        pattern = build_regex_from_schema(json.dumps(schema))
    except Exception as error:  # the engine raises what its parser does, without a class of its own
        raise ValueError(f"outlines cannot write the schema as a regex: {error}. Try engine=llguidance.") from None
    return Regex(pattern)


def _check(matcher: object) -> None:
    if matcher.is_error():
        raise ValueError(f"the engine cannot read the grammar: {matcher.get_error()}.")


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None
