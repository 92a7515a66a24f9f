"""Texts and small readers that the tests of signals share."""

import math

import pyarrow as pa
from hypothesis import strategies as st

from tokenry.corpora.families import Material, Settings
from tokenry.corpora.signals import families_of, score_batch

A = (
    "The cat sat on the mat. The cat sat on the mat.\nHello World 123!\n• bullet one\nThis line ends with dots...\n"
    "lorem ipsum dolor {x}\njavascript is here javascript"
)
B = "ALL CAPS HEADER\n\nA short paragraph, with #hash and … ellipsis…\n– dash item\n42 42 42 42\nend”\n"

# Words that repeat, and characters that Unicode treats in some special way: final sigma, a letter whose lower case is
# two characters, marks out of canonical order, Hangul, title case, numbers that are no digits, line ends of all kinds.
PIECES = st.sampled_from(
    ["the ", "cat ", "sat ", "on ", "mat. ", "dolorem ipsum ", "JavaScript ", "bad word ", "ΟΔΟΣ ", "Σ'Α", "İx",
     "e\u0323\u0301", "e\u0301\u0323 ", "한국 ", "ǅungla ", "½", "²", "\n", "\n\n", "\n\n\n", "\r\n", "\u2028", "\x1c",
     "\x85", "...", "…", "# ", "{", "}", "•", "–", "- ", "* ", "”", "?!", "_", "😀", "𝔘", "\u00a0", "\0", "x" * 40,
     "\u212a", "ﬁ ", "A1 ", "\u0301", ".\n", "ab c ", "a bc ", "use cookies ", "[12]", "[edit]", '"\n', "y" * 1001]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=80))


def batch_of(texts):
    return pa.record_batch(
        {"id": pa.array(map(str, range(len(texts))), pa.string()), "text": pa.array(texts, pa.string())}
    )


def scored(texts, families, **settings):
    """Column -> values of these families for these texts."""
    made = score_batch(batch_of(texts), families_of(families), material=Material(Settings(**settings)))
    return {name: made.column(name).to_pylist() for name in made.schema.names}


def agree(mine, twin):
    """Equal, or both missing (None or nan)."""
    if isinstance(mine, bool) or isinstance(twin, (bool, list)):
        return mine == twin
    if twin is None or mine is None or math.isnan(twin):
        return mine is None and (twin is None or math.isnan(twin))
    return math.isclose(mine, twin, rel_tol=1e-12, abs_tol=1e-15)


def differences(found, row, twin):
    """Column -> (ours, the twin's) where they differ."""
    return {name: (found[name][row], value) for name, value in twin.items() if not agree(found[name][row], value)}
