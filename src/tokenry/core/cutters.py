"""Cut a text into pre-tokens exactly as a tokenizer does, several times faster than the library where that is possible.

The library's split patterns are run by the `regex` module. The two engines may know different versions of Unicode (a
letter of 2023 is a letter to one and a symbol to the other), so every character that turns up is shown to both, class
by class, and a text with a character they see differently goes through the library. A pattern whose cuts differ on the
specimen text below never takes the fast path. For counting, the split patterns of GPT-2, GPT-4, GPT-4o, Llama 3, Qwen
and Mistral and the metaspace of SentencePiece are run by compiled kernels (`scan`).

Papers: Language Models are Unsupervised Multitask Learners (GPT-2; the split pattern and byte alphabet).
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import regex
from tokenizers import Tokenizer, pre_tokenizers

from tokenry.core.alphabets import METASPACE
from tokenry.core.hashing import fingerprint
from tokenry.core.patterns import PATTERNS
from tokenry.core.scanning import byte_level_words, end_to_end, isolates, pieces_of, scanned_family

Cut = Callable[[str], list[str]]
_ATOM = re.compile(r"\\[pP]\{[^}]+\}|\\[sSdDwWhHvR]")
_FREE = {"Split", "ByteLevel", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "BertPreTokenizer",
         "CharDelimiterSplit", "UnicodeScripts"}  # fmt: skip
"""Stages that cut a piece the same way wherever in the text it stands."""
_PART = 1 << 16
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_FOLD = "(?i:[delmrstv])"
_FOLDED = regex.compile(_FOLD)
"""The kernels fold ASCII only: a text with a long s goes through the library."""
SPECIMEN = (
    "  Hello, world's 1st test -- I'LL we've isn't 3.14159 1234567 x=y+2;\r\n\r\n\tdef f(a, b):  \n    return a[b]\n\n"
    "¡Año Übergröße naïve café ΑΒΓδεζς Москва'да 北京大学2024年 こんにちは カタカナ 한국어 ไทย हिन्दी தமிழ் "
    "العربية עברית "
    "e\u0301 ½ Ⅷ ٣٤ ｆｕｌｌ ǅ ʰ ſ K 'ſ 👩‍👩‍👧 a\u200bb\u00a0c\u3000d\u2028e\x0bf\x1cg\x85h   "
)


class Cutter:
    """The normaliser and pre-tokeniser of one tokenizer.

    Args:
        spec: content of its `tokenizer.json`. For BPE in metaspace spelling without a pre-tokeniser (Llama 2), a text
            is cut before every run of "▁" that follows another character: no entry of the vocabulary crosses such a
            place, so no merge does. Where an entry does cross, texts stay whole.
    """

    def __init__(self, spec: dict) -> None:
        self._library = shell(spec)
        shown = json.loads(self._library.to_str())
        stages = _flat(shown.get("pre_tokenizer"), "pretokenizers")
        self.cuts_at_spaces = _cuts_at_spaces(spec, stages)
        self.fingerprint = fingerprint(shown.get("normalizer"), shown.get("pre_tokenizer"), self.cuts_at_spaces)
        fast, rest = _fast_stages(stages)
        self._normalises = shown.get("normalizer") is not None
        self._normalise, normaliser_probe = _fast_normaliser(shown.get("normalizer"), self._library)
        self._cuts = [cut for cut, _ in fast]
        plain = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
        self._byte_level = len(rest) == 1 and {k: v for k, v in rest[0].items() if k != "trim_offsets"} == plain
        self._rest = None if not rest or self._byte_level else _stage_object(rest)
        atoms = sorted({atom for _, found in fast for atom in found})
        self._judge = _Judge(atoms, normaliser_probe)
        self.is_fast = (bool(fast) or not stages) and self._agrees_on_specimen()
        family = scanned_family(stages, cuts_at_spaces=self.cuts_at_spaces)
        self._family = family if self.is_fast and self.finishes_one_to_one else None
        if self._family is not None and not self._scans_like_regex():
            self._family = None

    def __call__(self, text: str) -> list[str]:
        """Pre-tokens of one text, in the spelling the model sees."""
        if not self.is_fast or not self._judge.all_safe([text]):
            return self.by_library(text)
        return self.finish(self._raw(text))

    def by_library(self, text: str) -> list[str]:
        """Pre-tokens of one text by the library alone."""
        library = self._library
        text = library.normalizer.normalize_str(text) if library.normalizer else text
        words = [w for w, _ in library.pre_tokenizer.pre_tokenize_str(text)] if library.pre_tokenizer else [text]
        words = [w for w in words if w]
        return [p for w in words for p in _RUNS.findall(w)] if self.cuts_at_spaces else words

    def raw(self, texts: Sequence[str]) -> Iterator[tuple[list[str], bool]]:
        """Cut each text as far as is fast: (pieces, whether they are raw).

        `finish` turns raw pieces into pre-tokens, one by one or, which is the point, only the distinct ones. Pieces of
        a text that has to go through the library are finished already.
        """
        all_safe = self.is_fast and self._judge.all_safe(texts)
        for text in texts:
            is_raw = all_safe or (self.is_fast and self._judge.all_safe([text]))
            yield (self._raw(text) if is_raw else self.by_library(text)), is_raw

    def scan(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
        """Raw pieces of texts, as `raw` gives them, without a Python string for each: for counting.

        Args:
            texts: a string or large_string array without nulls.

        Returns:
            uint8, the pieces end to end in UTF-8, and int64, where each ends; None where the texts must go by `raw`.
        """
        if self._family is None:
            return None
        from tokenry.core.scan_kernels import find_ends, new_characters

        data, text_ends = end_to_end(self.normalised(texts))
        ends, stopped_at = find_ends(data, text_ends, self._judge.table, self._family)
        while 0 <= stopped_at < 0x110000 and not self._judge.knows(stopped_at):
            self._judge.look_at(new_characters(data, self._judge.table).tolist())
            ends, stopped_at = find_ends(data, text_ends, self._judge.table, self._family)
        return (data, ends) if stopped_at < 0 else None

    def normalised(self, texts: pa.Array) -> pa.Array:
        """Texts (no nulls) as the normaliser leaves them."""
        if not self._normalises:
            return texts
        return pa.array([self._normalise(text) for text in texts.to_pylist()], pa.large_string())

    def finish(self, pieces: Sequence[str]) -> list[str]:
        """Pre-tokens of raw pieces, in order."""
        if self._byte_level:
            return byte_level_words(pieces)
        if self._rest is None:
            return list(pieces)
        return [word for piece in pieces for word, _ in self._rest.pre_tokenize_str(piece)]

    @property
    def cuts_like_gpt2(self) -> bool:
        """Is the split pattern GPT-2's, and nothing else?"""
        return self._family == 0  # scan_kernels.GPT2, without importing the kernels

    @property
    def scans(self) -> bool:
        """Do the kernels know this pattern?"""
        return self._family is not None

    @property
    def finishes_one_to_one(self) -> bool:
        """Does `finish` give exactly one pre-token per raw piece?"""
        return self._byte_level or self._rest is None

    @property
    def spells_bytes(self) -> bool:
        """Does `finish` spell each piece in the byte-level alphabet, and nothing else?"""
        return self._byte_level

    @property
    def finishes_nothing(self) -> bool:
        """Are raw pieces pre-tokens already?"""
        return not self._byte_level and self._rest is None

    def _raw(self, text: str) -> list[str]:
        pieces = [self._normalise(text)]
        if not pieces[0]:
            return []
        for cut in self._cuts:
            pieces = cut(pieces[0]) if len(pieces) == 1 else [part for piece in pieces for part in cut(piece)]
        if self.cuts_at_spaces:
            pieces = [part for piece in pieces for part in _RUNS.findall(piece)]
        return [piece for piece in pieces if piece] if "" in pieces else pieces

    def _specimens(self) -> list[str]:
        return [t for t in (SPECIMEN, *SPECIMEN.split("\n"), SPECIMEN[::-1]) if self._judge.all_safe([t])]

    def _agrees_on_specimen(self) -> bool:
        texts = self._specimens()
        return bool(texts) and all(self.finish(self._raw(text)) == self.by_library(text) for text in texts)

    def _scans_like_regex(self) -> bool:
        texts = self._specimens()
        scanned = [self.scan(pa.array([text], pa.large_string())) for text in texts]
        found = [(pieces_of(*cut), text) for cut, text in zip(scanned, texts, strict=True) if cut is not None]
        return bool(found) and all(pieces == self._raw(text) for pieces, text in found)


class _Judge:
    """Remembers which characters both engines see alike."""

    def __init__(self, atoms: list[str], normaliser: object | None) -> None:
        self._probes = [(regex.compile(atom), _stage_object([_split_stage(atom)])) for atom in atoms]
        self._normaliser = normaliser
        self._state = np.zeros(0x110000, np.uint8)  # 0 not seen yet, 1 alike, 2 different
        if not atoms and normaliser is None:
            self._state[:] = 1
        self._folds = _FOLD in atoms
        self.table = np.zeros(0x110000, np.uint8)
        self._ascii_safe = self._look(np.arange(128)).all()

    def knows(self, point: int) -> bool:
        """Has this character been looked at for the kernels?"""
        return bool(self.table[point])

    def look_at(self, new: list[int]) -> None:
        """Enter the classes of these code points into the kernels' table."""
        from tokenry.core.scan_kernels import CLASSES, LOOKED_AT, UNSAFE

        patterns = [regex.compile(atom) for atom in CLASSES]
        fresh = [point for point in new if not self._state[point]]
        if fresh:
            self._look(np.array(fresh))
        for point in new:
            bits = sum(bool(pattern.fullmatch(chr(point))) << bit for bit, pattern in enumerate(patterns))
            unsafe = self._state[point] != 1 or (self._folds and point > 127 and _FOLDED.fullmatch(chr(point)))
            self.table[point] = bits | LOOKED_AT | (UNSAFE if unsafe else 0)

    def all_safe(self, texts: Sequence[str]) -> bool:
        """Are all characters of all texts seen alike?"""
        return bool(self._ascii_safe) and all(text.isascii() or self._is_safe(text) for text in texts)

    def _is_safe(self, text: str) -> bool:
        for start in range(0, len(text), _PART):
            points = np.frombuffer(text[start : start + _PART].encode("utf-32-le"), np.uint32)
            states = self._state[points]
            if (states == 0).any():
                self._look(np.unique(points[states == 0]))
                states = self._state[points]
            if (states != 1).any():
                return False
        return True

    def _look(self, points: np.ndarray) -> np.ndarray:
        characters = [chr(p) for p in points.tolist()]
        alike = np.ones(len(points), bool)
        for pattern, stage in self._probes:
            for i, c in enumerate(characters):
                alike[i] &= bool(pattern.fullmatch(c)) == (not stage.pre_tokenize_str(c))
        if self._normaliser is not None:
            form, library = self._normaliser
            for i, c in enumerate(characters):
                # Marks around it show its combining class, which orders marks.
                alike[i] &= all(
                    library.normalize_str(s) == unicodedata.normalize(form, s) for s in (c, f"q\u0301{c}\u0323")
                )
        self._state[points] = np.where(alike, 1, 2)
        return alike


_RUNS = re.compile(f"{METASPACE}*[^{METASPACE}]+|{METASPACE}+")


def _flat(node: dict | None, key: str) -> list[dict]:
    if not node:
        return []
    return [leaf for child in node[key] for leaf in _flat(child, key)] if key in node else [node]


def shell(spec: dict, kind: str = "BPE") -> Tokenizer:
    """The library's normaliser and pre-tokeniser of a spec around an empty model of this kind."""
    model = {
        "BPE": {"type": "BPE", "vocab": {}, "merges": []},
        "Unigram": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]},
        "WordPiece": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": {}},
    }[kind]  # fmt: skip
    parts = {key: spec.get(key) for key in ("normalizer", "pre_tokenizer")}
    nothing = dict.fromkeys(("truncation", "padding", "post_processor", "decoder"))
    return Tokenizer.from_str(json.dumps({"version": "1.0", **nothing, **parts, "added_tokens": [], "model": model}))


def _split_stage(pattern: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": False}


def _stage_object(stages: list[dict]) -> pre_tokenizers.PreTokenizer:
    return shell({"pre_tokenizer": {"type": "Sequence", "pretokenizers": stages}}).pre_tokenizer


def _fast_stages(stages: list[dict]) -> tuple[list[tuple[Cut, list[str]]], list[dict]]:
    """The leading stages as (cut, classes used), and the stages left, which may run on distinct pieces alone."""
    fast, rest = [], list(stages)
    while rest and (cut := _fast_cut(rest[0], is_first=not fast)):
        fast.append(cut)
        stage = rest.pop(0)
        if stage["type"] == "ByteLevel":
            rest.insert(0, {**stage, "add_prefix_space": False, "use_regex": False})
            break
    if any(stage["type"] not in _FREE for stage in rest):
        return [], stages
    return fast, rest


def _fast_cut(stage: dict, *, is_first: bool) -> tuple[Cut, list[str]] | None:
    kind = stage["type"]
    if kind == "ByteLevel" and stage["use_regex"]:
        cut = _regex_cut(PATTERNS["gpt2"][0], "Isolated", invert=False)
        return (_after_space(cut[0]), cut[1]) if stage["add_prefix_space"] else cut
    if kind == "Digits":
        return _regex_cut(r"\p{N}" if stage["individual_digits"] else r"\p{N}+", "Isolated", invert=False)
    if kind == "Split" and "Regex" in stage["pattern"]:
        return _regex_cut(stage["pattern"]["Regex"], stage["behavior"], invert=stage["invert"])
    if kind == "Split" and stage["pattern"].get("String"):
        return _string_cut(stage), []
    if kind == "Metaspace" and is_first and stage["replacement"] == METASPACE:
        return _metaspace_cut(prepend=stage["prepend_scheme"] != "never", split=stage["split"]), []
    return None


def _regex_cut(pattern: str, behavior: str, *, invert: bool) -> tuple[Cut, list[str]] | None:
    if behavior != "Isolated" and not (behavior == "Removed" and invert):
        return None
    try:
        compiled = regex.compile(pattern)
    except regex.error:
        return None
    if compiled.groups:
        return None
    find = compiled.findall

    def matches(text: str) -> list[str]:
        return [piece for piece in find(text) if piece]

    def isolated(text: str) -> list[str]:
        pieces = find(text)
        if "".join(pieces) == text:
            return pieces
        pieces, end = [], 0
        for match in compiled.finditer(text):
            pieces += [text[end : match.start()], match[0]]
            end = match.end()
        return [piece for piece in (*pieces, text[end:]) if piece]

    folds = ([_FOLD] if _CONTRACTION in pattern else ["(?i:[a-z])"]) if "(?i" in pattern else []
    return (matches if invert and behavior == "Removed" else isolated), _ATOM.findall(pattern) + folds


def _string_cut(stage: dict) -> Cut:
    """Cut at a plain string by the library, unless it does not occur (Gemma splits at spaces it has replaced)."""
    library, string = _stage_object([stage]), stage["pattern"]["String"]
    return lambda text: [piece for piece, _ in library.pre_tokenize_str(text)] if string in text else [text]


def _after_space(cut: Cut) -> Cut:
    return lambda text: cut(text if text.startswith(" ") else " " + text)


def _metaspace_cut(*, prepend: bool, split: bool) -> Cut:
    def cut(text: str) -> list[str]:
        text = text.replace(" ", METASPACE)
        if prepend and not text.startswith(METASPACE):
            text = METASPACE + text
        if not split:
            return [text]
        first, *others = text.split(METASPACE)
        return [first, *(METASPACE + part for part in others)] if first else [METASPACE + part for part in others]

    return cut


def _fast_normaliser(node: dict | None, library: Tokenizer) -> tuple[Callable[[str], str], tuple | None]:
    """A normaliser in Python where its steps are plain, else the library's; and what to probe characters with."""
    steps, probe = [], None
    for leaf in _flat(node, "normalizers"):
        kind = leaf["type"]
        if kind in ("NFC", "NFD", "NFKC", "NFKD") and probe is None:
            probe = (kind, shell({"normalizer": {"type": kind}}).normalizer)
            steps.append(lambda text, form=kind: unicodedata.normalize(form, text))
        elif kind == "Prepend":
            steps.append(lambda text, mark=leaf["prepend"]: mark + text if text else text)
        elif kind == "Replace" and leaf["pattern"].get("String"):
            steps.append(lambda text, a=leaf["pattern"]["String"], b=leaf["content"]: text.replace(a, b))
        else:
            return library.normalizer.normalize_str, None

    def normalise(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return normalise, probe


def _cuts_at_spaces(spec: dict, stages: list[dict]) -> bool:
    """Is this BPE in metaspace spelling, uncut before the model, with no entry that crosses from word to space?"""
    model = spec.get("model") or {}
    if model.get("type", "BPE") != "BPE" or "merges" not in model or not _spells_metaspace(spec):
        return False
    known = {*model["vocab"], *(token["content"] for token in spec.get("added_tokens") or [])}
    # Gemma splits at plain spaces, which are gone by then; SentencePiece files isolate user-defined pieces.
    if any(s["type"] != "Split" or (s["pattern"].get("String") != " " and not isolates(s, known)) for s in stages):
        return False
    crossing = re.compile(f"[^{METASPACE}]{METASPACE}")
    inputs = {token["content"] for token in spec.get("added_tokens") or []}
    return not any(crossing.search(piece) for piece in model["vocab"] if piece not in inputs)


def _spells_metaspace(spec: dict) -> bool:
    leaves = _flat(spec.get("normalizer"), "normalizers")
    return any(leaf["type"] == "Replace" and leaf.get("content") == METASPACE for leaf in leaves)
