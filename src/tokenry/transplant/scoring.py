"""Score models on the same text cut into the same segments of bytes."""

from tokenry.core.splitting import segments
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores

FEW = 12
"""Below this many documents the scored units are segments: an interval over so few documents says nothing."""


def units(texts: list[str], segment_bytes: int) -> list[str]:
    """What an interval is taken over: documents, or their segments when there are fewer than 12 documents."""
    if len(texts) >= FEW:
        return texts
    return [part for text in texts for part in segments(text, segment_bytes)]


def measure(lm: LM, texts: list[str], *, segment_bytes: int) -> Scores:
    """Nats, bytes and tokens of every unit of `texts` under `lm`; each segment is scored on its own, after BOS.

    Args:
        lm: the model.
        texts: documents, the same for every model that is to be compared.
        segment_bytes: context in bytes: the same text, so the same knowledge, for every tokenizer.
    """
    from tokenry.core.runs import Progress

    wanted = units(texts, segment_bytes)
    with Progress(f"scoring {lm.name}", total=sum(len(t.encode()) for t in wanted), unit="bytes") as progress:
        return lm.score(wanted, max_bytes=segment_bytes, progress=progress)


def prompts_from(texts: list[str], *, n: int, n_bytes: int = 200) -> list[str]:
    """Beginnings of `n` texts (fewer if there are fewer), each about `n_bytes` bytes, cut at white space."""
    long_enough = [t for t in texts if len(t.encode()) > n_bytes] or texts
    return [segments(text, n_bytes)[0].rstrip() or text for text in long_enough[:n]]
