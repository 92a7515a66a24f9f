"""A tokenizer for one domain against a general one and three production ones: tokens per character, terms, noise.

    python bench/domain.py            # needs ../shared/data beside the project; some minutes on one core

Domain: SEC filings (those of some companies to learn from, of others held out), in passages of about 4,000 characters.
General: the packaged fiction, every third passage held out. All of ours have 8,192 entries unless they say otherwise.
Tokens per character (TPC, the measure of KL3M Tokenizers, lower is better) with 95 % intervals over passages; those of
one filing are not independent, so read them as intervals for these filings. Written to bench/results/domain.json.
"""

import json
import lzma
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

from tokenry.core.intervals import ratio_change_interval, ratio_interval
from tokenry.core.vocab import Vocab
from tokenry.data import demo_text
from tokenry.tokenization.composing import Recipe, compose
from tokenry.tokenization.domain import frequent_phrases, groups, select_terms
from tokenry.tokenization.ensured import Terms
from tokenry.tokenization.noise import noisy_pairs, stability

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).resolve().parent / "results" / "domain.json"
SIZE, PASSAGE, SEED = 8192, 4000, 0
PUBLISHED = {"SEC filings": {"kl3m 128k": 0.1816, "o200k": 0.1976, "llama-3": 0.1992, "gpt2": 0.3720}}
FINANCE = [
    "EBITDA",
    "amortization",
    "collateralized",
    "goodwill impairment",
    "convertible notes",
    "LIBOR",
    "SOFR",
    "tranche",
    "securitization",
    "fiduciary",
    "indenture",
    "subordinated debentures",
    "basis points",
    "derivative instruments",
    "counterparty",
    "non-GAAP",
    "diluted earnings per share",
    "accretion",
    "deferred tax assets",
    "repurchase agreement",
]
"""Written down before any count was made; they are not among the terms guaranteed below."""


def passages(texts: list[str]) -> list[str]:
    """Whole lines gathered to about `PASSAGE` characters."""
    out, held = [], ""
    for line in "\n".join(texts).splitlines(keepends=True):
        held += line
        if len(held) >= PASSAGE:
            out.append(held)
            held = ""
    return [*out, held] if held else out


def read() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts to learn from and held out, by set."""
    with lzma.open(SHARED / "finance-edgar" / "filings.jsonl.xz", "rt", encoding="utf-8") as file:
        filings = sorted((json.loads(line) for line in file), key=lambda row: row["filing"])
    firms = sorted({row["filing"].split("-")[0] for row in filings})
    held_firms = set(firms[1::2][:4])
    held = [row["text"] for row in filings if row["filing"].split("-")[0] in held_firms]
    learn = [row["text"] for row in filings if row["filing"].split("-")[0] not in held_firms]
    with lzma.open(demo_text("fiction"), "rt", encoding="utf-8") as file:
        fiction = passages([json.loads(line)["text"] for line in file])
    general = [text for i, text in enumerate(fiction) if i % 3], fiction[::3]
    return (
        {"filings": passages(learn), "fiction": general[0]},
        {"filings": [p for text in held for p in passages([text])], "fiction": general[1]},
    )


def recipes() -> dict[str, Recipe]:
    """What is trained on the filings, by name."""
    plain = Recipe(size=SIZE, pattern="gpt2")
    custom = tuple(groups("whitespace,years:1776-2049,numbers:10-999,enumerators"))
    found = {"domain": plain, "domain cl100k cuts": Recipe(size=SIZE)}
    for how in ("both", "whole-words", "merges-first", "added"):
        found[f"domain + custom, {how}"] = Recipe(size=SIZE, pattern="gpt2", terms=Terms(custom, how))
    found["domain uncased nfkc"] = Recipe(size=SIZE, pattern="gpt2", lowercase=True, normalizer="nfkc")
    found["domain 16k"] = Recipe(size=2 * SIZE, pattern="gpt2")
    found["domain char 4k"] = Recipe(size=4096, pattern="gpt2", normalizer="nfkc", max_characters=3)
    return found


def measured(vocabularies: dict[str, Vocab], held: dict[str, list[str]]) -> list[dict]:
    """One row a tokenizer."""
    pairs = noisy_pairs(held["filings"][:40], rate=0.02, seed=SEED)
    rows = []
    for name, vocab in vocabularies.items():
        row: dict = {"tokenizer": name, "entries": vocab.size}
        for domain, texts in held.items():
            counts = [len(ids) for ids in vocab.encode(texts)]
            row[f"tpc_{domain}"] = interval(ratio_interval(counts, [len(t) for t in texts], seed=SEED))
        costs = [len(vocab.encode([f" {term}"])[0]) for term in FINANCE]
        row["tokens_per_finance_term"] = interval(ratio_interval(costs, [1] * len(costs), seed=SEED))
        found = stability(vocab, pairs)
        row["boundary_f1_under_ocr"] = float(2 * found.kept.sum() / (found.clean.sum() + found.noisy.sum()))
        row["characters_recut_per_edit"] = float(found.recut.sum() / found.edits.sum())
        rows.append(row)
        print({k: v if not isinstance(v, list) else [round(x, 4) for x in v] for k, v in row.items()}, flush=True)
    return rows


def interval(found: object) -> list[float]:
    return [found.value, found.low, found.high]


def selection(learn: list[str], held: list[str], domain: Vocab) -> dict:
    """400 entries for phrases chosen on half of the training filings, as added tokens, against 400 more merges."""
    picks = select_terms(frequent_phrases(learn, min_count=20), learn, domain, budget=400)
    chosen = Recipe(size=SIZE + 400, pattern="gpt2", terms=Terms(tuple(p.term for p in picks), "added"))
    sizes = [len(text) for text in held]
    counts = {
        name: [len(ids) for ids in compose(learn, recipe).vocab.encode(held)]
        for name, recipe in (("merges", Recipe(size=SIZE + 400, pattern="gpt2")), ("phrases", chosen))
    }
    change = ratio_change_interval((counts["merges"], sizes), (counts["phrases"], sizes), seed=SEED)
    return {"first_picks": [p.term for p in picks[:10]], "saved_where_chosen": sum(p.saved for p in picks),
            "change_of_tpc_held_out": interval(change)}  # fmt: skip


def main() -> None:
    started = time.process_time()
    learn, held = read()
    vocabularies = {
        "general": compose(learn["fiction"], Recipe(size=SIZE, pattern="gpt2")).vocab,
        **{name: compose(learn["filings"], recipe).vocab for name, recipe in recipes().items()},
        "gpt2": Vocab.open(SHARED / "tokenizers" / "gpt2"),
        **{name: Vocab.open(SHARED / "tokenizers" / "openai" / f"{name}_base.tiktoken.xz") for name in
           ("cl100k", "o200k")},
    }  # fmt: skip
    rows = measured(vocabularies, held)
    result = {
        "what": "tokens per character on held-out filings and fiction; terms; boundaries under an OCR channel (2 %)",
        "command": "python bench/domain.py", "seed": SEED, "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "n": {kind: {name: [len(t), sum(map(len, t))] for name, t in part.items()}
              for kind, part in (("learn", learn), ("held", held))},
        "rows": rows, "selection": selection(learn["filings"], held["filings"], vocabularies["domain"]),
        "published_other_filings": PUBLISHED, "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("n", "selection", "cpu_seconds")}, indent=2))


if __name__ == "__main__":
    main()
