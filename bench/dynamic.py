"""Dynamic tokenization of a decoder: merged prompts by level, and the search for the next of a million tokens.

    OMP_NUM_THREADS=1 python bench/dynamic.py decoder --lang en          # base_lm; --lang de --prompt 160
    OMP_NUM_THREADS=1 python bench/dynamic.py speed                      # merging against a recount
    OMP_NUM_THREADS=1 python bench/dynamic.py head --model SMOLLM2 --size 1000000     # 3 GB of memory
    OMP_NUM_THREADS=1 python bench/dynamic.py vocabulary             # a million real merges, rows of pieces

Results go to bench/results/dynamic.json. The encoder's are made by bench/dynamic_encoder.py.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "dynamic.json"


def keep(key: str, result: dict) -> None:
    whole = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    whole[key] = result
    RESULTS.write_text(json.dumps(whole, indent=1) + "\n")
    print(json.dumps(result, indent=1), flush=True)


def decoder(chosen: argparse.Namespace) -> None:
    from base_lm import base_model, heldout

    from tokenry.transplant.dynamic import profile

    began = time.process_time()
    report = profile(
        base_model("en"), heldout(chosen.lang), limit=chosen.limit, prompt_bytes=chosen.prompt, rows="pieces",
        reductions=(0.25, 0.5, 0.75, 1.0),
    )  # fmt: skip
    table = report.tables["by level of reduction"].to_pylist()
    rows = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in table]
    seconds = round(time.process_time() - began)
    keep(f"decoder-{chosen.lang}", {
        "what": f"bits per byte of the unmerged continuation after a merged prompt of up to {chosen.prompt} bytes; "
                "both fit the 128 tokens the model was trained on",
        "prompts": report.facts["prompts"], "cpu_seconds": seconds, "verdict": report.verdict, "rows": rows,
        "merged_minus_truncated": {k.rsplit("_", 1)[1]: [round(x, 4) for x in (v.value, v.low, v.high)]
                                   for k, v in report.facts.items() if "merged_minus" in k},
    })  # fmt: skip


def speed(chosen: argparse.Namespace) -> None:
    """Milliseconds of merging one batch to the end, incremental and recounted."""
    from collections import Counter
    from itertools import pairwise

    from base_lm import base_model, heldout

    from tokenry.core.vocab import Vocab
    from tokenry.transplant.dynamic_merges import merge_segmented
    from tokenry.transplant.dynamic_segments import may_join, segment

    vocab = Vocab.open(base_model("en"))
    texts = [text[:600] for text in heldout("de")][:32]
    source = segment(vocab, texts, specials=False)
    clock = time.process_time()
    batch = merge_segmented(vocab, source)
    ours = time.process_time() - clock
    clock = time.process_time()
    rows = [list(zip((vocab.tokens[i] for i in a.tolist()), b.tolist(), strict=True))
            for a, b in zip(source.ids, source.breaks, strict=True)]  # fmt: skip
    steps = min(50, len(batch.merges))
    for _ in range(steps):
        pairs: Counter = Counter()
        for row in rows:
            for (left, _), (right, broken) in pairwise(row):
                if not broken and may_join(left, right):
                    pairs[left, right] += 1
        best = max(pairs, key=pairs.get)
        for k, row in enumerate(rows):
            out: list = []
            for data, broken in row:
                if out and not broken and (out[-1][0], data) == best:
                    out[-1] = (out[-1][0] + data, out[-1][1])
                else:
                    out.append((data, broken))
            rows[k] = out
    recount = (time.process_time() - clock) / steps
    keep("speed", {
        "what": "32 German texts of 600 characters, tokens of an English vocabulary, merged to whole words",
        "tokens": batch.n_before, "pieces": batch.n_after, "merges": len(batch.merges),
        "incremental_cpu_ms": round(1000 * ours, 1), "recount_cpu_ms_a_merge": round(1000 * recount, 2),
        "recount_cpu_ms_extrapolated": round(1000 * recount * len(batch.merges)),
    })  # fmt: skip


def head(chosen: argparse.Namespace) -> None:
    """Rows of a real head continued to many by means of 2 to 4 of them; queries are real hidden states."""
    import torch

    from tokenry.core.tables import texts
    from tokenry.data import demo_text
    from tokenry.models.lm import LM

    lm = LM.open(chosen.model)
    ids = np.concatenate([lm.encode([t])[0] for t in list(texts(demo_text("fiction")))[:8]])[: chosen.queries]
    with torch.inference_mode():
        hidden = lm.model.base_model(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).last_hidden_state[0]
        real = lm.model.get_output_embeddings().weight.float().numpy()[: lm.vocab.size].copy()
    queries = hidden.float().numpy().copy()
    del lm, hidden
    rng = np.random.default_rng(0)
    rows = np.empty((chosen.size, real.shape[1]), np.float32)
    rows[: len(real)] = real
    for start in range(len(real), chosen.size, 1 << 15):
        n = min(1 << 15, chosen.size - start)
        picks, counts = rng.integers(len(real), size=(n, 4)), rng.integers(2, 5, size=n)
        weights = (np.arange(4) < counts[:, None]) / counts[:, None]
        rows[start : start + n] = np.einsum("nk,nkd->nd", weights.astype(np.float32), real[picks])
    search(
        rows,
        queries,
        f"head-{chosen.size}-d{rows.shape[1]}",
        f"means of 2 to 4 random rows of {Path(chosen.model).name}'s head beside its own; queries: hidden states",
    )


def vocabulary(chosen: argparse.Namespace) -> None:
    """The base model's merges continued on real text, rows of pieces; queries are its hidden states on that domain."""
    import torch
    from base_lm import base_model, heldout
    from corpus import corpus

    from tokenry.models.lm import LM
    from tokenry.transplant.dynamic_head import large_vocabulary

    lm = LM.open(base_model("en"))
    clock = time.process_time()
    large = large_vocabulary(lm, corpus(chosen.mb), size=chosen.size, min_count=1, kind="exact")
    made = time.process_time() - clock
    batch = [torch.from_numpy(ids[:96].astype(np.int64))[None] for ids in lm.encode(heldout("en"))[:4]]
    with torch.inference_mode():
        hidden = [lm.model.base_model(input_ids=ids).last_hidden_state[0] for ids in batch]
    text = heldout("en")[:20]
    n_bytes = sum(len(t.encode()) for t in text)
    prefix = large.prefix
    clock = time.process_time()
    cut = [prefix.encode(t) for t in text]
    encoding = time.process_time() - clock
    assert all(prefix.decode(ids) == t for ids, t in zip(cut, text, strict=True))
    by_merges = sum(map(len, prefix.vocab.encode(text)))
    facts = {"entries": prefix.vocab.size, "cpu_seconds_to_make_vocabulary_and_rows": round(made),
             "bytes_per_token": {"base": round(n_bytes / sum(map(len, lm.vocab.encode(text))), 3),
                                 "merges": round(n_bytes / by_merges, 3),
                                 "longest prefix": round(n_bytes / sum(map(len, cut)), 3)},
             "longest_prefix_mb_per_cpu_second": round(n_bytes / encoding / 1e6, 2)}  # fmt: skip
    search(
        large.neighbours.rows_ND,
        torch.cat(hidden).numpy(),
        f"vocabulary-{prefix.vocab.size}",
        f"base_lm en, merges continued on {chosen.mb:g} MB of documentation, many languages; rows: means of pieces",
        facts,
    )


def search(rows: np.ndarray, queries: np.ndarray, key: str, what: str, facts: dict | None = None) -> None:
    from tokenry.core.intervals import bootstrap_interval
    from tokenry.transplant.dynamic_head import Neighbours

    exact = Neighbours(rows, kind="exact")
    clock, wall = time.process_time(), time.perf_counter()
    truth = np.concatenate([exact.search(queries[i : i + 16], k=20)[0] for i in range(0, len(queries), 16)])
    batched = (time.process_time() - clock) / len(queries)
    clock = time.process_time()
    for query in queries[:20]:
        exact.search(query[None], k=20)
    single = (time.process_time() - clock) / 20
    clock, wall = time.process_time(), time.perf_counter()
    index = Neighbours(rows, kind="ivf")
    build = {"cpu_seconds": round(time.process_time() - clock), "wall_seconds": round(time.perf_counter() - wall)}
    out = []
    for probes, reorder in ((8, 200), (32, 200), (125, 200), (250, 200), (250, 1000)):
        index._index.nprobe, index.reorder = min(probes, index._index.nlist), reorder
        clock = time.process_time()
        found = np.concatenate([index.search(query[None], k=20)[0] for query in queries])
        took = (time.process_time() - clock) / len(queries)
        recall = [len(set(a.tolist()) & set(b.tolist())) / 20 for a, b in zip(found, truth, strict=True)]
        top = bootstrap_interval(recall)
        best = float(np.mean(found[:, 0] == truth[:, 0]))
        out.append({"probes": probes, "reorder": reorder, "recall_at_20": [round(v, 4) for v in
                    (top.value, top.low, top.high)], "best_token_found": round(best, 4),
                    "cpu_ms_a_query": round(1000 * took, 2)})  # fmt: skip
        print(out[-1], flush=True)
    index_bytes = len(rows) * (rows.shape[1] + 1 + 8)
    keep(key, {
        "what": what, "rows": list(rows.shape), "cells": index._index.nlist, "queries": len(queries), **(facts or {}),
        "exact_cpu_ms_a_query": {"alone": round(1000 * single, 1), "in batches of 16": round(1000 * batched, 1)},
        "build": build, "index_mb": round(index_bytes / 1e6), "rows_mb": round(rows.nbytes / 1e6),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3), "search": out,
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("decoder", "speed", "head", "vocabulary"))
    parser.add_argument("--lang", default="en")
    parser.add_argument("--limit", type=int, default=160)
    parser.add_argument("--prompt", type=int, default=240, help="bytes; 160 for a language the model cuts finely")
    parser.add_argument("--model", default=str(Path.home() / "real" / "smollm2-135m"))
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--mb", type=float, default=100, help="text the merges are continued on")
    parser.add_argument("--queries", type=int, default=256)
    chosen = parser.parse_args()
    {"decoder": decoder, "speed": speed, "head": head, "vocabulary": vocabulary}[chosen.part](chosen)


if __name__ == "__main__":
    main()
