"""Less-is-Better: learn a lexicon that needs few tokens and few types, by reading, memorising and forgetting.

No pre-tokeniser decides what a unit is: an entry may be part of a word, a word, or several words. The learner reads a
document greedily, proposes what stands side by side, moves an entry up when the text needs it and down when smaller
entries read the same text as well, and forgets what does not pay.

Paper: Rethinking Tokenization: Crafting Better Tokenizers for Large Language Models (arXiv 2403.00417).
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tokenry.core.vocab import Vocab
from tokenry.tokenization.least_effort_lexicon import DECODINGS, Lexicon, least_effort_spec, sentences, to_vocab

# Axes: E entries by priority, L symbols of the longest entry, N symbols of the text.

_MOST_CHARACTERS = 1 << 20
_SAVE_EVERY = 1000
_FORMAT = 1


@dataclass(frozen=True)
class Rules:
    """What the learner holds to; the defaults are the paper's."""

    max_length: int = 12
    """Longest entry, in characters."""
    memory_in: float = 0.25
    """Probability that two neighbours are proposed as one entry."""
    memory_out: float = 1e-4
    """Share of the lexicon, from its tail, that goes on probation after each epoch (at least one entry)."""
    update_rate: float = 0.2
    """Share of its place by which an entry moves up or down."""
    max_gap: int = 2
    """Longest run of unknown characters that is proposed."""
    life: int = 10
    """Epochs of probation."""
    sentences: int = 200
    """Sentences of a document, the text of one epoch."""
    across_words: bool = True
    """Whether an entry may hold a space anywhere but at its start."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_length", 1, 256), ("memory_in", 0, 1), ("memory_out", 0, 1), ("update_rate", 0, 10),
            ("max_gap", 0, 256), ("life", 2, 10**6), ("sentences", 1, 10**6),
        ):  # fmt: skip
            if not least <= (value := getattr(self, name)) <= most:
                raise ValueError(f"{name}={value}; need {least} to {most}. Correct the rules of the learner.")


@dataclass(frozen=True, eq=False)
class Documents:
    """Sentences as symbols, in groups that are read together."""

    symbols: np.ndarray
    """int32 (N,), all sentences end to end."""
    ends: np.ndarray
    """int64 (sentences + 1,), where each sentence starts."""
    starts: np.ndarray
    """int64 (documents + 1,), first sentence of each document."""
    alphabet: tuple[str, ...]
    """The character of each symbol, in order of first appearance."""

    @classmethod
    def of(cls, found: Sequence[str], *, per_document: int = 200) -> "Documents":
        """Group sentences in their order.

        Raises:
            ValueError: no sentence with a character in it.
        """
        found = [sentence for sentence in found if sentence]
        if not found:
            raise ValueError("the data hold no text; need at least one sentence. Is the text column right (--text)?")
        joined = "".join(found)
        points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        used, first, inverse = np.unique(points, return_index=True, return_inverse=True)
        if len(used) > _MOST_CHARACTERS:
            raise ValueError(f"{len(used):,} different characters; need at most {_MOST_CHARACTERS:,}. Is it text?")
        order = np.argsort(first, kind="stable")
        number = np.empty(len(used), np.int32)
        number[order] = np.arange(len(used))
        ends = np.concatenate([[0], np.cumsum([len(sentence) for sentence in found])]).astype(np.int64)
        starts = np.append(np.arange(0, len(found), per_document), len(found)).astype(np.int64)
        return cls(number[inverse], ends, starts, tuple(chr(p) for p in used[order].tolist()))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def document(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Symbols of one document, and where its sentences start in them."""
        ends = self.ends[self.starts[number] : self.starts[number + 1] + 1]
        return self.symbols[ends[0] : ends[-1]], ends - ends[0]


class Learner:
    """The learner and its memory. Same documents, rules and seed: same lexicon, however often it was interrupted.

    Args:
        documents: what it reads, one document an epoch, drawn with replacement.
        rules: see `Rules`.
        seed: of all that is drawn.

    It starts with the characters of the first ten documents, on probation. An entry is its place: 0 is the head.
    """

    def __init__(self, documents: Documents, *, rules: Rules | None = None, seed: int = 0) -> None:
        self.documents, self.rules, self.seed = documents, rules or Rules(), seed
        self.epoch = 0
        self._random = np.array([seed % 2**64], np.uint64)
        first = documents.symbols[: documents.ends[documents.starts[min(10, len(documents))]]]
        characters = int(first.max()) + 1  # symbols are numbered by first appearance
        self._symbols_EL = np.zeros((characters, self.rules.max_length), np.int32)
        self._symbols_EL[:, 0] = np.arange(characters)
        self._length_E = np.ones(characters, np.int32)
        self._life_E = np.full(characters, self.rules.life, np.int32)
        self._sizes = np.array([characters, 1], np.int64)
        self._reindex()

    @property
    def n_entries(self) -> int:
        """Entries of the lexicon now."""
        return int(self._sizes[0])

    def run(self, epochs: int) -> None:
        """Read so many documents more."""
        for _ in range(epochs):
            self.step()

    def step(self) -> tuple[int, int]:
        """One epoch: read a document, move entries, forget. Returns its known chunks and unknown characters."""
        from tokenry.tokenization.least_effort_kernels import read_document, uniform

        data, ends = self.documents.document(int(uniform(self._random) * len(self.documents)))
        rules = self.rules
        self._make_room(len(data))
        space = self.documents.alphabet.index(" ") if not rules.across_words and " " in self.documents.alphabet else -1
        seen = np.zeros((1 << max(4, (2 * len(data)).bit_length()), 2), np.int64)
        counts = read_document(
            data, ends, self._keys_K, self._children_K, self._entry_M, self._symbols_EL, self._length_E, self._life_E,
            self._node_E, self._move_E, self._sizes, self._random, seen,
            np.array([rules.max_length, rules.max_gap, space], np.int64), rules.memory_in,
        )  # fmt: skip
        self._settle()
        self.epoch += 1
        return counts

    def lexicon(self) -> Lexicon:
        """The lexicon as it is now."""
        return Lexicon(tuple(self._spelled(e) for e in range(self.n_entries)))

    def _spelled(self, entry: int) -> str:
        alphabet = self.documents.alphabet
        return "".join(alphabet[s] for s in self._symbols_EL[entry, : self._length_E[entry]].tolist())

    def _settle(self) -> None:
        """Move all entries at once, delete those moved past the end, and let probation take its course."""
        n, rules = self.n_entries, self.rules
        order, kept = settled(self._move_E[:n], update_rate=rules.update_rate)
        life = self._life_E[:n].copy()
        on = life > 0
        life[on] -= 1
        kept &= ~(on & (life <= 1))
        order = order[kept[order]]
        m = len(order)
        tail = np.arange(min(m - 1, int((1 - rules.memory_out) * m)), m) if m else order
        for name in ("_symbols_EL", "_length_E", "_node_E"):
            array = getattr(self, name)
            array[:m] = array[order]
        gone = np.flatnonzero(~kept)
        dead_nodes = self._entry_M[: self._sizes[1]] >= 0
        self._life_E[:m] = life[order]
        self._life_E[tail[self._life_E[tail] == 0]] = rules.life
        self._move_E[:n] = 0
        self._sizes[0] = m
        self._entry_M[: self._sizes[1]][dead_nodes] = -1
        self._entry_M[self._node_E[:m]] = np.arange(m, dtype=np.int32)
        self._forgotten += len(gone)
        if self._forgotten > max(1000, m):
            self._reindex()

    def _reindex(self) -> None:
        """Build the trie anew, without the branches of what was forgotten."""
        from tokenry.tokenization.least_effort_kernels import index_all

        n = self.n_entries
        n_nodes = 1 + int(self._length_E[:n].sum())
        self._keys_K = np.empty(1 << (2 * n_nodes).bit_length(), np.int64)
        self._children_K = np.empty(len(self._keys_K), np.int32)
        self._entry_M = np.full(n_nodes, -1, np.int32)
        self._node_E = np.zeros(len(self._length_E), np.int32)
        self._move_E = np.zeros(len(self._length_E), np.int64)
        index_all(
            self._keys_K, self._children_K, self._entry_M, self._symbols_EL, self._length_E, self._node_E, self._sizes
        )
        self._forgotten = 0

    def _make_room(self, n_symbols: int) -> None:
        """Room for what a document of so many symbols can add: an entry for every second symbol at most."""
        n, more = self.n_entries, n_symbols // 2 + 1
        for name in ("_symbols_EL", "_length_E", "_life_E", "_node_E", "_move_E"):
            array = getattr(self, name)
            if len(array) < n + more:
                setattr(self, name, _grown(array, 2 * (n + more)))
        nodes = int(self._sizes[1]) + more * self.rules.max_length
        if len(self._entry_M) < nodes:
            self._entry_M = _grown(self._entry_M, 2 * nodes)
        if len(self._keys_K) < 2 * nodes:
            from tokenry.tokenization.least_effort_kernels import index_all

            self._keys_K = np.empty(1 << (4 * nodes).bit_length(), np.int64)
            self._children_K = np.empty(len(self._keys_K), np.int32)
            index_all(self._keys_K, self._children_K, self._entry_M, self._symbols_EL, self._length_E, self._node_E,
                      self._sizes)  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write the state, so that `load` goes on from it (numpy's .npz, no pickle)."""
        from tokenry.core.runs import atomic_path

        n = self.n_entries
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez(
                file, symbols=self._symbols_EL[:n], lengths=self._length_E[:n], lives=self._life_E[:n],
                random=self._random, epoch=np.int64(self.epoch), signature=np.frombuffer(self._signature(), np.uint8),
            )  # fmt: skip

    def load(self, path: str | Path) -> None:
        """Take over a state written by `save`.

        Raises:
            ValueError: a state of another text, other rules or another seed, or no state at all.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                state = {name: file[name] for name in ("symbols", "lengths", "lives", "random", "epoch", "signature")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a state of this learner ({error}). Give a new file to write.") from None
        if state["signature"].tobytes() != self._signature():
            raise ValueError(
                f"{path} is the state of another run (other text, rules or seed). Use the same ones, or a new file."
            )
        if not self._is_sound(state):
            raise ValueError(f"{path} is damaged: its entries do not fit this learner. Give a new file to write.")
        self._symbols_EL, self._length_E = state["symbols"], state["lengths"]
        self._life_E, self._random, self.epoch = state["lives"], state["random"], int(state["epoch"])
        self._sizes = np.array([len(self._length_E), 1], np.int64)
        self._reindex()

    def _is_sound(self, state: dict[str, np.ndarray]) -> bool:
        """Whether the arrays of a state may be given to compiled loops, which check nothing."""
        symbols, lengths, lives, random = (state[name] for name in ("symbols", "lengths", "lives", "random"))
        n, longest = len(lengths), self.rules.max_length
        shapes = symbols.shape == (n, longest) and lengths.shape == lives.shape == (n,) and random.shape == (1,)
        types = symbols.dtype == lengths.dtype == lives.dtype == np.int32 and random.dtype == np.uint64
        if not (shapes and types) or n == 0:
            return shapes and types
        inside = symbols.min() >= 0 and symbols.max() < len(self.documents.alphabet) and lives.min() >= 0
        return bool(inside and lengths.min() >= 1 and lengths.max() <= longest)

    def _signature(self) -> bytes:
        documents = self.documents
        digest = hashlib.blake2b("".join(documents.alphabet).encode("utf-8", "surrogatepass"), digest_size=16)
        for array in (documents.symbols, documents.ends, documents.starts):
            digest.update(array.tobytes())
        return json.dumps([_FORMAT, self.seed, asdict(self.rules), digest.hexdigest()]).encode()


def settled(moves_E: np.ndarray, *, update_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The moves of an epoch, all at once: an entry at place i goes to i -+ (floor(update_rate i) + 1) for each sign.

    An entry with several signs of one kind left over is moved so often, each time from where it came to; above the head
    a promotion counts one place. Where several want one place, those that rise stand before the one that stays, those
    that sink behind it; among equals the old order holds.

    Returns:
        order: int64 (E,), the entries in their new order. kept: bool (E,), False where moved past the end.
    """
    from tokenry.tokenization.least_effort_kernels import wanted_places

    wanted_E = wanted_places(np.ascontiguousarray(moves_E, np.int64), update_rate)
    return np.lexsort((np.arange(len(moves_E)), np.sign(moves_E), wanted_E)), wanted_E < len(moves_E)


def train_least_effort(
    source: object,
    *,
    size: int,
    seed: int = 0,
    epochs: int = 5000,
    max_length: int = 12,
    keep_spaces: bool = True,
    rules: Rules | None = None,
    decoding: str = "greedy",
    specials: Mapping[str, str] | None = None,
    resume: str | Path | None = None,
    **reading: object,
) -> Vocab:
    """Learn a Less-is-Better lexicon and make a tokenizer of its best entries.

    Args:
        source: documents, as `core.tables.stream` takes them; running text, since the learner reads in order.
        size: entries in all: special tokens, the 256 bytes and the characters of the text, which are never dropped,
            and the lexicon's entries by priority.
        seed: of the learner.
        epochs: documents of about 200 sentences that are read.
        max_length: longest entry in characters.
        keep_spaces: the space is a character like any other; without it the tokenizer removes all spaces, as the
            original did, and a text does not come back.
        rules: the rest of `Rules`; its max_length gives way to `max_length`.
        decoding: how the tokenizer cuts: "greedy" (longest match, the paper's) or "fewest" (fewest tokens, among
            equals those of higher priority).
        specials: role -> special token; default <s> </s> <pad> <unk>.
        resume: file for the learner's state, written every 1,000 epochs, on Ctrl-C and at the end; where it exists the
            run goes on from it.
        reading: `text`, `limit`, `skip_bad` of `core.tables.texts`.

    Returns:
        The vocabulary; smaller than `size` where less was learned.

    Raises:
        ValueError: no text, a size that does not hold special tokens, bytes and characters, a state of another run.

    Paper: Rethinking Tokenization: Crafting Better Tokenizers for Large Language Models (arXiv 2403.00417).
    """
    from tokenry.core.pretokens import Pretokens
    from tokenry.core.tables import texts

    unknown = sorted(key for key, value in reading.items() if key not in ("text", "limit", "skip_bad") and value)
    reading = {key: value for key, value in reading.items() if key in ("text", "limit", "skip_bad")}
    if unknown or isinstance(source, Pretokens):
        raise ValueError(f"Less-is-Better reads running text in order; {unknown or 'a table of words'} cannot be used.")
    if decoding not in DECODINGS:
        raise ValueError(f"decoding={decoding!r}; need {' or '.join(DECODINGS)}. Take greedy for the paper's way.")
    rules = replace(rules or Rules(), max_length=max_length)
    spec = least_effort_spec(keep_spaces=keep_spaces)
    documents = Documents.of(sentences(texts(source, **reading), spec), per_document=rules.sentences)
    learner = Learner(documents, rules=rules, seed=seed)
    _run_with_state(learner, epochs, Path(resume) if resume else None)
    return to_vocab(
        learner.lexicon(), spec, size=size, decoding=decoding, specials=specials, characters=_frequent(documents)
    )


def _run_with_state(learner: Learner, epochs: int, state: Path | None) -> None:
    from tokenry.core.runs import Progress

    if state is not None and state.exists():
        learner.load(state)
    try:
        with Progress("learning a lexicon", epochs, "epochs", start=learner.epoch) as progress:
            while learner.epoch < epochs:
                learner.step()
                progress.add(1, note=f"{learner.n_entries:,} entries")
                if state is not None and learner.epoch % _SAVE_EVERY == 0:
                    learner.save(state)
    finally:
        if state is not None:
            learner.save(state)


def _frequent(documents: Documents) -> list[str]:
    """The characters that cover the text as the other trainers' alphabets do, most frequent first."""
    from tokenry.tokenization.word_tables import covering

    seen = np.bincount(documents.symbols, minlength=len(documents.alphabet))
    return [documents.alphabet[s] for s in covering(seen).tolist()]


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    grown = np.zeros((size, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
