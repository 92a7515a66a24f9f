"""How a tokenizer treats source code: indentation, operators, names in camelCase and snake_case; and round trips.

Papers: Getting the most out of your tokenizer for pre-training and domain adaptation (arXiv 2402.01035; code).
"""

import numpy as np
import regex

from tokenry.core.intervals import wilson_interval
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import Counts, encode_words
from tokenry.tokenization.findings import Findings, ratio, rows_as_columns

# Axes: D documents of the sample.

_OPERATORS = (
    "== != <= >= && || ++ -- += -= *= /= //= %= ** // << >> <<= >>= -> => :: := ?? ?. ... .. <- |> <> === !== #! /* */ "
    "</ /> () [] {} (); }); ): {{ }}"
)
OPERATORS = tuple(_OPERATORS.split(" "))
UNITS = {
    "indentation": r"(?m)^[ \t]+(?=\S)",
    "line end and indentation": r"\n[ \t]+(?=\S)",
    "operator": r"[-+*/%=<>!&|^~:?.#@$\\]{2,}",
    "camelCase name": r"\b[a-z]+(?:[A-Z][a-z0-9]+)+\b",
    "snake_case name": r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b",
    "number": r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])",
}
"""Things that make up code, as patterns; what each costs is measured on the text."""
_HUMP = regex.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PATTERNS = {name: regex.compile(pattern) for name, pattern in UNITS.items()}


def code(counts: Counts, *, seed: int = 0) -> Findings:
    """What indentation, operators and names cost in the text, in tokens each; and which operators are one token.

    Measured on the sample of the documents (`Counts.sample`), for tokenizers whose tokens spell the text; documents
    that a normaliser changes are left out.
    """
    single = single_operators(counts.vocab)
    whole = wilson_interval(len(single), len(OPERATORS))
    found = Findings(facts={"operators_single": len(single), "operators_single.of": len(OPERATORS)})
    found.notes.append(
        f"{len(single)} of {len(OPERATORS)} operators of programming languages are one token "
        f"({whole.value:.0%}); a unit's tokens are the pieces it is cut into, shared edges counted once."
    )
    texts = [text for _, text in counts.sample]
    cuts = [token_bounds(counts.vocab, text) for text in texts]
    kept = [(text, bounds) for text, bounds in zip(texts, cuts, strict=True) if bounds is not None]
    if not kept:
        found.notes.append("Code could not be measured on the text: no sampled document is spelled exactly.")
        return found
    rows = [row for name, pattern in _PATTERNS.items() if (row := _unit(name, pattern, kept, seed))]
    if rows:
        found.tables["code"] = rows_as_columns(rows)
    if (kept_humps := _humps(kept, seed)) is not None:
        found.facts["camel_humps_kept"] = kept_humps
    return found


def single_operators(vocab: Vocab) -> list[str]:
    """Those of `OPERATORS` that are one token behind a line break."""
    return [op for op, ids in zip(OPERATORS, encode_words(vocab, list(OPERATORS)), strict=True) if len(ids) == 1]


def token_bounds(vocab: Vocab, text: str) -> np.ndarray | None:
    """Byte offsets in the text at which tokens begin or end; None when the tokens do not spell the text."""
    ids = vocab.encode([text])[0]
    data, spelled = text.encode("utf-8", "surrogatepass"), vocab.decode_bytes(ids)
    bounds = np.concatenate([[0], np.cumsum(vocab.byte_lengths[ids], dtype=np.int64)])
    if spelled == data:
        return bounds
    # A dummy space in front belongs to no character.
    return np.maximum(bounds - 1, 0) if spelled == b" " + data else None


def _spans(pattern: regex.Pattern, text: str) -> np.ndarray:
    """Byte spans (N, 2) of the matches."""
    spans = [match.span() for match in pattern.finditer(text)]
    if text.isascii() or not spans:
        return np.array(spans, np.int64).reshape(-1, 2)
    sizes = np.fromiter((len(char.encode("utf-8", "surrogatepass")) for char in text), np.int64, len(text))
    return np.concatenate([[0], np.cumsum(sizes)])[np.array(spans, np.int64)]


def _unit(name: str, pattern: regex.Pattern, kept: list[tuple[str, np.ndarray]], seed: int) -> dict | None:
    n_D, tokens_D, whole_D, bytes_D = (np.zeros(len(kept), np.int64) for _ in range(4))
    for d, (text, bounds) in enumerate(kept):
        spans = _spans(pattern, text)
        inner = np.searchsorted(bounds, spans[:, 1], "left") - np.searchsorted(bounds, spans[:, 0], "right")
        n_D[d], tokens_D[d], whole_D[d] = len(spans), (inner + 1).sum(), (inner == 0).sum()
        bytes_D[d] = (spans[:, 1] - spans[:, 0]).sum()
    rate = ratio(tokens_D, n_D, seed=seed)
    if rate is None:
        return None
    row = {"unit": name, "n": int(n_D.sum()), "documents": int((n_D > 0).sum()), "tokens_each": rate.value}
    row |= {"low": rate.low, "high": rate.high, "bytes_each": bytes_D.sum() / n_D.sum()}
    return row | {"uncut_share": whole_D.sum() / n_D.sum()}


def _humps(kept: list[tuple[str, np.ndarray]], seed: int) -> object:
    """The share of humps of camelCase names that are token boundaries."""
    n_D, hit_D = np.zeros(len(kept), np.int64), np.zeros(len(kept), np.int64)
    camel = _PATTERNS["camelCase name"]
    for d, (text, bounds) in enumerate(kept):
        edges = set(bounds.tolist())
        for match in camel.finditer(text):
            start = len(text[: match.start()].encode("utf-8", "surrogatepass"))
            humps = [start + hump.start() for hump in _HUMP.finditer(match[0])]
            n_D[d] += len(humps)
            hit_D[d] += sum(hump in edges for hump in humps)
    return ratio(hit_D, n_D, seed=seed)
