"""Bits per byte that do not depend on a tokenizer, and the law of the next byte, as a Scores and a Report.

A token model's usual bits per byte count one way to write a text. These count all of them ("all"), or the ways of the
tokenizer with what the model wastes on others left out ("canonical").

Paper: Exact Byte-Level Probabilities from Tokenized Language Models (arXiv 2410.09303).
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tokenry.core.report import Report
from tokenry.core.splitting import segments
from tokenry.decoding.bytes import ByteLM
from tokenry.decoding.bytes_ensemble import ByteEnsemble
from tokenry.decoding.bytes_tokens import END
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores


def byte_scores(
    model: LM | ByteLM | ByteEnsemble,
    documents: Iterable[str],
    *,
    max_bytes: int,
    target: str = "canonical",
    beam: int | None = None,
    progress: object = None,
) -> Scores:
    """Score documents byte by byte in pieces of at most `max_bytes` bytes, each after the start token.

    Args:
        model: a model, a byte model or an ensemble.
        documents: texts.
        max_bytes: at least 4; pieces must fit the context, one token a byte in the worst case.
        target, beam: as for `ByteLM`, when `model` is an LM.
        progress: anything with `add(n)`; counts bytes.

    Returns:
        Scores; `n_tokens` counts the tokenizer's own tokens (0 for an ensemble).

    Raises:
        ValueError: a piece that no tokens of the target spell.
    """
    source = ByteLM(model, target=target, beam=beam) if isinstance(model, LM) else model
    nats, n_bytes, n_tokens = [], [], []
    for document in documents:
        pieces = segments(document, max_bytes)
        found = [-source.log_prob(piece) for piece in pieces]
        if not np.isfinite(found).all():
            piece = pieces[int(np.argmax(~np.isfinite(found)))]
            raise ValueError(
                f"no token sequence of the target spells {piece[:60]!r}; the vocabulary lacks a character, or the "
                "tokenizer would change the text. Take target 'all', or a vocabulary with byte pieces."
            )
        size = len(document.encode())
        nats.append(sum(found))
        n_bytes.append(size)
        n_tokens.append(sum(map(len, source.lm.vocab.encode(pieces))) if isinstance(source, ByteLM) else 0)
        if progress is not None:
            progress.add(size)
    return Scores(np.array(nats, float), np.array(n_bytes, np.int64), np.array(n_tokens, np.int64))


def next_bytes_report(
    models: Sequence[object],
    text: str,
    *,
    target: str = "canonical",
    beam: int | None = None,
    top: int = 12,
    combine: str = "mean",
    device: str | None = None,
    dtype: str | None = None,
) -> Report:
    """Which bytes may follow a text, and with what probability.

    Args:
        models: what `LM.open` takes; several form an ensemble with equal weights.
        text: the prompt; it may end anywhere.
        target, beam: as for `ByteLM`.
        top: most rows.
        combine: "mean" or "product" of several models.
        device, dtype: as for `LM.open`.

    Returns:
        Report of kind "next-bytes": facts n_possible, entropy_bits, p_end, n_forwards, and for one model leaked; tables
        "next bytes" and, for one model, "cover".
    """
    import pyarrow as pa

    if not models or top < 1:
        raise ValueError(f"{len(models)} models, top={top}; need at least one of each.")
    members = [ByteLM(LM.open(m, device=device, dtype=dtype), target=target, beam=beam) for m in models]
    several = len(members) > 1
    state = (ByteEnsemble(members, combine=combine) if several else members[0]).after(text)
    p = np.exp(state.next_log_p)
    order = [int(i) for i in np.argsort(-p, kind="stable") if p[i] > 0]
    seen = p[p > 0]
    names = " + ".join(member.lm.name for member in members)
    report = Report(kind="next-bytes", title=f"{names} after {text[-40:]!r}")
    report.facts |= {
        "target": target,
        "n_possible": len([i for i in order if i != END]),
        "entropy_bits": float(-(seen * np.log2(seen)).sum()),
        "p_end": float(p[END]),
        "n_forwards": state.n_forwards if several else state.runner.session.n_forwards,
    }
    shown = order[:top]
    report.tables["next bytes"] = pa.table({
        "byte": [f"{i:02x}" if i != END else "end" for i in shown],
        "reads": [_reads(i) for i in shown],
        "probability": [float(p[i]) for i in shown],
    })  # fmt: skip
    if not several:
        report.facts["leaked"] = float(state.leaked)
        cover = state.cover(top)
        report.tables["cover"] = pa.table({
            "tokens": [" ".join(members[0].lm.vocab.literal(i) for i in member.ids[-4:]) for member in cover],
            "beyond the text": [member.beyond.decode("utf-8", "replace") for member in cover],
            "share": [member.p for member in cover],
        })  # fmt: skip
    return report


def _reads(byte: int) -> str:
    """How a byte reads on its own."""
    if byte == END:
        return "end of text"
    return repr(chr(byte)) if byte < 128 else "part of a character"
