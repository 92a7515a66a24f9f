"""The two loads of a tokenizer on a text: how many tokens there are to process, how many types there are to store.

Paper: Rethinking Tokenization: Crafting Better Tokenizers for Large Language Models (Less-is-Better, arXiv 2403.00417).
"""

import math

import numpy as np

from tokenry.core.report import Figure
from tokenry.core.vocab import Kind
from tokenry.tokenization.counting import Counts
from tokenry.tokenization.findings import Findings, ratio

# Axes: V vocabulary ids, U ids that occur.

_POINTS = 24


def effort(counts: Counts, *, seed: int = 0) -> Findings:
    """Tokens, types used, their lengths, the growth of types with tokens, storage and description length.

    Fewer tokens and fewer types are less to process and to store; that is not the same as a better language model.

    Args:
        counts: of one tokenizer on one text.
        seed: of the bootstrap over documents.
    """
    uses_U = counts.tokens_V[counts.tokens_V > 0]
    vocab, used = counts.vocab, np.flatnonzero(counts.tokens_V)
    lengths_U = vocab.byte_lengths[used]
    tokens = [vocab.tokens[i] or b"" for i in used.tolist()]
    several = sum(
        b" " in token.strip() and vocab.kinds[i] == Kind.NORMAL for i, token in zip(used, tokens, strict=True)
    )
    data_bits = tokens_bits(uses_U)
    stored_bits = lexicon_bits(tokens)
    facts = {
        "effort.tokens": counts.n_tokens,
        "effort.types_used": len(used),
        "effort.tokens_per_kilobyte": ratio(
            1000 * counts.tokens_D, counts.bytes_D, seed=seed, unit="tokens/1000 bytes"
        ),
        "effort.type_length": float(lengths_U.mean()) if len(used) else 0.0,
        "effort.several_words_share": several / len(used) if len(used) else 0.0,
        "effort.storage_bytes": int(lengths_U.sum()),
        "effort.token_entropy_bits": data_bits / max(1, counts.n_tokens),
        "effort.description_bits": data_bits + stored_bits,
        "effort.description_bits_per_byte": (data_bits + stored_bits) / max(1, counts.n_bytes),
    }
    curve = type_curve(uses_U)
    return Findings(
        facts=facts,
        tables={"types by tokens read": {"tokens": [n for n, _ in curve], "types": [types for _, types in curve]}},
        figures=[Figure("line", "Types met by tokens read", "tokens read", "types", {vocab.name: curve}, log_x=True)]
        if len(curve) > 1
        else [],
        notes=[
            "description_bits: the text in an ideal code for its own token frequencies, and each used type once, byte "
            "by byte in an ideal code for the bytes of the types. One text, no interval: it grows with the text.",
            "The curve of types is the expectation over random subsets of the tokens, exact.",
        ],
    )


def tokens_bits(uses_U: np.ndarray) -> float:
    """Bits of a text in an ideal order-0 code: -sum f log2(f / N)."""
    n = uses_U.sum()
    return float(-(uses_U * np.log2(uses_U / n)).sum()) if n else 0.0


def lexicon_bits(tokens: list[bytes]) -> float:
    """Bits of a list of strings, each closed by an end mark, in an ideal order-0 code of their bytes."""
    counts = np.bincount(np.frombuffer(b"".join(tokens), np.uint8), minlength=256)
    counts = np.append(counts, len(tokens))
    return tokens_bits(counts[counts > 0])


def type_curve(uses_U: np.ndarray, *, points: int = _POINTS) -> list[tuple[int, float]]:
    """Expected number of types among n tokens drawn without replacement, for n up to all of them (rarefaction).

    A type that occurs f times among N is missed with probability C(N - f, n) / C(N, n).
    """
    from scipy.special import gammaln

    total = int(uses_U.sum())
    if total == 0:
        return []
    sizes = np.unique(np.geomspace(1, total, min(points, total)).round().astype(np.int64))
    uses, n_equal = np.unique(uses_U, return_counts=True)
    curve = []
    for n in sizes.tolist():
        possible = total - uses >= n
        left = (total - uses)[possible].astype(np.float64)
        log_miss = gammaln(left + 1) - gammaln(left - n + 1) - math.lgamma(total + 1) + math.lgamma(total - n + 1)
        curve.append((n, float(n_equal.sum() - (np.exp(log_miss) * n_equal[possible]).sum())))
    return curve
