"""What tokens of several words save, on held-out text and on other text, beside an ordinary tokenizer of the same size.

Papers: TokenAdapt, supertokens (arXiv 2505.09738); SuperBPE (arXiv 2503.13423).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import ratio_interval
from tokenry.core.report import FactValue, Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.entries import shown
from tokenry.tokenization.extension_report import unreachable
from tokenry.tokenization.findings import saved_share

SHOWN = 200
_BATCH = 64


def supertoken_report(vocab: Vocab, plain: Vocab, texts: Mapping[str, object], *, seed: int = 0) -> Report:
    """Compare a tokenizer whose tokens may span words with a plain one of the same size.

    Args:
        vocab: with tokens of several words.
        plain: trained on the same text without them.
        texts: name -> text, as `core.tables.stream` takes it. Give held-out text of the same kind and some other text:
            multi-word tokens save most where text repeats itself.
        seed: of the bootstrap over documents.

    Returns:
        Report of kind "supertokens". Facts for each text: `NAME.bytes_per_token`, `NAME.bytes_per_token.plain`,
        `NAME.tokens_saved_share` (paired over documents; below 0 where the text got longer),
        `NAME.round_trip_failures`; `n_superwords` (entries of two words or more), `longest_words`, `unreachable`. Table
        `superwords`: the most used.

    Raises:
        ValueError: no text, or sizes that differ, which would compare sizes.

    Papers: TokenAdapt (arXiv 2505.09738); SuperBPE (arXiv 2503.13423).
    """
    if vocab.size != plain.size:
        raise ValueError(
            f"{vocab.size:,} entries against {plain.size:,}; a larger vocabulary always saves. Train both at one size."
        )
    if not texts:
        raise ValueError("no text to compare on; give at least one, best two: held-out text and other text.")
    words = np.array([len(token.split()) if token else 0 for token in vocab.tokens])
    facts: dict[str, FactValue] = {
        "vocab_size": vocab.size,
        "n_superwords": int((words > 1).sum()),
        "longest_words": int(words.max()),
        "unreachable": len(unreachable(vocab)),
    }
    used = np.zeros(vocab.size, np.int64)
    for name, source in texts.items():
        found, uses = _effect(vocab, plain, source, seed)
        facts |= {f"{name}.{key}": value for key, value in found.items()}
        used += uses
    rows = [i for i in np.argsort(-used, kind="stable").tolist() if words[i] > 1][:SHOWN]
    table = pa.table(
        {
            "id": pa.array(rows, pa.int64()),
            "token": pa.array([shown(vocab, i) for i in rows], pa.string()),
            "words": pa.array(words[rows].tolist(), pa.int64()),
            "occurrences": pa.array(used[rows].tolist(), pa.int64()),
        }
    )
    return Report(
        kind="supertokens",
        title=f"{vocab.name}: {facts['n_superwords']:,} entries of several words",
        facts=facts,
        tables={"superwords": table},
        verdict=_verdict(facts, list(texts)),
        notes=["Fewer tokens are not a better model: compare bits per byte of models trained on the same bytes."],
    )


def _effect(vocab: Vocab, plain: Vocab, source: object, seed: int) -> tuple[dict[str, FactValue], np.ndarray]:
    from tokenry.core.tables import texts

    n_bytes, ours, theirs, used, failures = [], [], [], np.zeros(vocab.size, np.int64), 0
    batch: list[str] = []

    def settle() -> int:
        cuts = vocab.encode(batch)
        n_bytes.extend(len(text.encode("utf-8", "surrogatepass")) for text in batch)
        ours.extend(map(len, cuts))
        theirs.extend(map(len, plain.encode(batch)))
        used[:] += np.bincount(np.concatenate([np.zeros(0, np.int64), *cuts]).astype(np.int64), minlength=vocab.size)
        return sum(vocab.decode(ids) != text for ids, text in zip(cuts, batch, strict=True))

    for text in texts(source):
        if text:
            batch.append(text)
        if len(batch) == _BATCH:
            failures += settle()
            batch = []
    failures += settle() if batch else 0
    if not n_bytes:
        raise ValueError("a text to compare on is empty; need at least one document with something in it.")
    return {
        "n_documents": len(n_bytes),
        "bytes_per_token": ratio_interval(n_bytes, ours, seed=seed, unit="bytes/token"),
        "bytes_per_token.plain": ratio_interval(n_bytes, theirs, seed=seed, unit="bytes/token"),
        "tokens_saved_share": saved_share(ours, theirs, seed=seed),
        "round_trip_failures": failures,
    }, used


def _verdict(facts: Mapping[str, FactValue], names: Sequence[str]) -> str:
    parts = [f"{facts[f'{name}.tokens_saved_share'].value:.1%} of the tokens on {name}" for name in names]
    saved = ", ".join(parts)
    return f"{facts['n_superwords']:,} of {facts['vocab_size']:,} entries hold several words; they save {saved}."
