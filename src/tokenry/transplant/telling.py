"""The report of an adaptation: the evidence, and how it came about: parts, tokens, probe, compute."""

from pathlib import Path

import pyarrow as pa

from tokenry.core.intervals import Interval
from tokenry.core.report import Report, TokenSample
from tokenry.core.vocab import Vocab
from tokenry.transplant.composing import Composed
from tokenry.transplant.healing import Healed
from tokenry.transplant.proof import Evidence, evidence_report

AUDITED = {
    "vocab_size": "entries",
    "bytes_per_token": "bytes per token",
    "tokens_per_word": "tokens per word",
    "whole_word_share": "share of words in one token",
    "unreachable_tokens": "unreachable tokens",
    "unused_tokens": "tokens not used here",
    "round_trip_failures": "round trip failures",
}
"""Facts of the tokenizer audit that the report shows before and after."""


def adaptation_report(
    evidence: Evidence, *, old: Vocab, composed: Composed, parts: dict, probe: dict, healed: Healed,
    control: Healed | None, texts: list[str], name: str,
) -> Report:  # fmt: skip
    """The Report of one adaptation.

    Args:
        evidence: scores and speeds of the models.
        old, composed: the vocabularies before and after.
        parts: documents and bytes of each part of the data.
        probe: what `auto` tried and chose.
        healed, control: the trained models and their curves.
        texts: held-out documents, for the audits and the samples.
        name: of the original model.
    """
    curves = {"healed": healed.curve, "control": control.curve if control else []}
    report = evidence_report(evidence, title=f"{Path(name).name} on {composed.vocab.size:,} tokens", curves=curves)
    facts = report.facts
    facts["method"] = probe["method"]
    facts["vocab_size.before"], facts["vocab_size.after"] = old.size, composed.vocab.size
    for label, trained in (("heal", healed), ("control", control)):
        if trained is not None:
            facts[f"{label}.steps"], facts[f"{label}.flops"] = trained.steps, trained.flops
            facts[f"{label}.cpu_seconds"] = round(trained.cpu_seconds, 1)
    facts["probe.flops"] = probe["flops"]
    facts["parameters.after"] = sum(p.numel() for p in healed.lm.model.parameters())
    report.tables["tokenizers on your held-out text"] = _audits(old, composed.vocab, texts)
    report.tables["parts of your data"] = _parts(parts)
    if probe["tried"]:
        columns = list(probe["tried"][0])
        report.tables["probe"] = pa.table({c: [row[c] for row in probe["tried"]] for c in columns})
    report.samples += _samples(old, composed.vocab, texts)
    report.notes += _notes(composed, healed, control, probe, len(texts))
    return report


def _audits(old: Vocab, new: Vocab, texts: list[str]) -> pa.Table:
    from tokenry.tokenization.audit import audit

    found = [audit(vocab, texts).facts for vocab in (old, new)]
    columns: dict[str, list] = {"tokenizer": ["before", "after"]}
    for key, label in AUDITED.items():
        if key in found[0]:
            values = [facts[key] for facts in found]
            columns[label] = [value.value if isinstance(value, Interval) else value for value in values]
    return pa.table(columns)


def _parts(parts: dict) -> pa.Table:
    use = {
        "all": "everything read, without duplicates",
        "compose": "tokens are learned from it",
        "heal": "the models are trained on it",
        "probe": "the method is chosen on it; the curves",
        "heldout": "the proof",
        "general": "scored, to see what is forgotten",
        "replay": "mixed into training, against forgetting",
    }
    names = [name for name in use if name in parts]
    return pa.table(
        {
            "part": names,
            "documents": [parts[n]["documents"] for n in names],
            "bytes": [parts[n]["bytes"] for n in names],
            "use": [use[n] for n in names],
        }
    )


def _samples(old: Vocab, new: Vocab, texts: list[str]) -> list[TokenSample]:
    from tokenry.core.splitting import segments

    samples = []
    for i, text in enumerate(texts[:2]):
        piece = segments(text, 240)[0]
        rows = [(label, _shown(vocab, piece)) for label, vocab in (("before", old), ("after", new))]
        samples.append(TokenSample(title=f"Held-out text {i + 1}", rows=rows))
    return samples


def _shown(vocab: Vocab, text: str) -> list[str]:
    """Token texts of `text`; bytes of one character that fall into several tokens are shown as escapes."""
    tokens = [vocab.tokens[int(i)] or b"" for i in vocab.encode([text])[0]]
    return [token.decode("utf-8", "backslashreplace") for token in tokens if token]


def _notes(composed: Composed, healed: Healed, control: Healed | None, probe: dict, n_texts: int) -> list[str]:
    notes = [
        f"Parts are split by document and share none; {n_texts} held-out documents were never trained on or chosen by.",
        "Bits per byte: each document is cut into the same segments of bytes for every model, each scored after BOS.",
        "Intervals: 95 %, bootstrap over documents; changes are paired on the same documents.",
    ]
    if composed.pieces is not None:
        notes.append(
            f"Continued BPE: every new token is a fixed run of old ones, seen at least {composed.least_count} times."
        )
    if control is not None:
        notes.append(
            f"The fine-tuned original had the compute of healing{' and probe' if probe['flops'] else ''}: "
            f"{control.flops:.3g} FLOP in {control.steps} steps, against {healed.flops + probe['flops']:.3g}; "
            f"{control.cpu_seconds:.0f} processor seconds against {healed.cpu_seconds:.0f} for healing alone."
        )
    return notes
