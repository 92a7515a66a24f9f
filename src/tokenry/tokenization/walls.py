"""What multi-word tokens may still not cross: split patterns for superwords, derived from the pattern of the words.

A tokenizer file cuts text at its split pattern whatever was learned, so tokens of several words need a pattern that
lets words join. It must not cut anything the first pattern kept whole, or tokens learned before could never be used
(held for pre-tokenisers of one pattern; several in a row, as Falcon's, may lose a run of spaces before a mark).

Papers: SuperBPE (arXiv 2503.13423), whose pattern glues line ends to words and whose users complained; here a mark
before a line end stays with it, as in the first pattern.
"""

import regex

from tokenry.core.alphabets import METASPACE
from tokenry.core.hf_json import parts
from tokenry.core.patterns import PATTERNS, byte_level

LINES = r"[\r\n]+"
"""Isolates line ends and nothing else."""
_WORDS = "one Two three été Привет 北京"
_MARKS = r"[^\s\p{L}\p{N}]"
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def superword_pattern(pattern: str) -> str:
    """A split pattern under which words may join, from a pattern that cuts words; "" where nothing is left of it.

    Of the alternatives those which match words, contractions or the space before a word are dropped. Marks are isolated
    from two on, or with the line end they stand before; numbers, line ends and runs of spaces are cut as before.

    Args:
        pattern: a regular expression of the first pre-tokeniser.
    """
    kept: list[str] = []
    for alternative in alternatives(pattern):
        found = regex.compile(alternative)
        words = _WORDS.replace(" ", METASPACE) if METASPACE in alternative else _WORDS
        if found.search(words) or any(found.fullmatch(mark) for mark in _CONTRACTIONS):
            kept += [LINES] if found.fullmatch("\n") else []  # white space of any kind: only its line ends are walls
            continue
        kept += _loosened(alternative, pattern) if found.search(", ") else [alternative]
    return "|".join(dict.fromkeys(kept))


def _loosened(alternative: str, pattern: str) -> list[str]:
    """A rule for marks that lets a single mark join, unless a line end follows."""
    if "]+" not in alternative:
        return [alternative]
    one, two = alternative, alternative.replace("]+", "]{2,}", 1)
    if r"\p{M}" in pattern and f"{_MARKS}+" in alternative:  # accents belong to words there, which no longer come first
        first = r"[^\s\p{L}\p{M}\p{N}]" + _MARKS
        one, two = (alternative.replace(f"{_MARKS}+", first + many, 1) for many in "*+")
    return [*([one[:-1] + "+"] if alternative.endswith("]*") else []), two]


def alternatives(pattern: str) -> list[str]:
    """The alternatives of a regular expression at its top level."""
    found, depth, in_class, start, i = [], 0, False, 0, 0
    while i < len(pattern):
        character = pattern[i]
        if character == "\\":
            i += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            i += (pattern[i + 1 : i + 3] == "^]" and 2) or pattern[i + 1 : i + 2] == "]"
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            found.append(pattern[start:i])
            start = i + 1
        i += 1
    return [part for part in (*found, pattern[start:]) if part]


def with_walls(pre_tokenizer: dict | None, walls: str) -> dict | None:
    """A pre-tokeniser that cuts only at walls, in the spelling of another.

    Args:
        pre_tokenizer: of the words, as in `tokenizer.json`.
        walls: "words" (as it is), "superword" (see `superword_pattern`), "lines" (line ends), "none".

    Raises:
        ValueError: unknown walls, or a pre-tokeniser with a part that cannot be told apart from its cuts at words.
    """
    if walls == "words":
        return pre_tokenizer
    if walls not in ("superword", "lines", "none"):
        raise ValueError(f"walls={walls!r}; need words, superword, lines or none.")
    kept, found, ends = [], [], []
    for stage in parts(pre_tokenizer):
        kind = stage["type"]
        if kind == "ByteLevel":
            found += PATTERNS["gpt2"] if stage.get("use_regex", True) else ()
            ends.append({**byte_level(use_regex=False), "add_prefix_space": stage.get("add_prefix_space", False)})
        elif kind == "Split" and "Regex" in stage["pattern"] and stage["behavior"] in ("Isolated", "Removed"):
            found.append(stage["pattern"]["Regex"])
        elif kind in ("Digits", "Punctuation"):
            kept.append(stage)
        else:
            raise ValueError(
                f"the pre-tokeniser has a part {kind} that cuts words in a way no wall can be derived from. Train with "
                "a split pattern (--pattern) instead of --like."
            )
    patterns = [superword_pattern(pattern) for pattern in found] if walls == "superword" else []
    patterns = [pattern for pattern in patterns if pattern]
    if walls == "lines" or (walls == "superword" and not any(regex.search(pattern, "a\nb") for pattern in patterns)):
        patterns.append(LINES)
    cuts = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    stages = [*(kept if walls == "superword" else ()), *cuts, *ends]
    if not stages:
        return None
    return stages[0] if len(stages) == 1 else {"type": "Sequence", "pretokenizers": stages}
