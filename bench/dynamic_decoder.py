"""Dynamic tokens of a decoder: rows from a hypernetwork, fine-tuning on merged prompts, and what a large head writes.

    tokenry hypernet train ~/.cache/tokenry-bench/base-lm/en --data HYPER.jsonl --vocab 4096 --steps 1500 --layers 1 \
        --batch 8 --negatives 512 --pool 256 --rate 5e-4 --out NET      # text: python bench/dynamic_decoder.py text
    OMP_NUM_THREADS=1 python bench/dynamic_decoder.py rows --hypernet NET        # en; --lang de --prompt 160
    OMP_NUM_THREADS=1 python bench/dynamic_decoder.py tuned                      # stories260K; --lang de: base_lm
    OMP_NUM_THREADS=1 python bench/dynamic_decoder.py writing --hypernet NET --judge SMOLLM2

Results go to bench/results/dynamic.json. Scored documents are held out from all trainings (bench/base_lm.py).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from base_lm import base_model, heldout, training_texts
from dynamic import keep

from tokenry.core.intervals import Interval, bootstrap_interval, ratio_interval
from tokenry.core.splitting import segments
from tokenry.core.tables import texts as read_texts
from tokenry.data import demo_model, demo_text
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores
from tokenry.transplant.dynamic import prompt_pairs
from tokenry.transplant.dynamic_head import LargeVocabulary, LongestPrefix, Neighbours, large_vocabulary
from tokenry.transplant.dynamic_lm import score_continuations
from tokenry.transplant.dynamic_rows import PieceRows
from tokenry.transplant.dynamic_tuning import continuation_loss, continued_batches, tune
from tokenry.transplant.dynamic_writing import Choosing, write
from tokenry.transplant.hypernet import Hypernetwork, piece_rows

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
WRITTEN_BYTES, NEW_TOKENS, SHORT = 120, 40, 40


def rounded(found: Interval) -> list[float]:
    return [round(v, 4) for v in (found.value, found.low, found.high)]


def text(chosen: argparse.Namespace) -> None:
    """What the hypernetwork of these figures was trained on: 900 English and 450 German training documents."""
    mixed = training_texts("en")[:900] + training_texts("de")[:450]
    random.Random(0).shuffle(mixed)
    Path(chosen.out).write_text("".join(json.dumps({"text": t}) + "\n" for t in mixed), encoding="utf-8")


def rows(chosen: argparse.Namespace) -> None:
    """Bits per byte after merged prompts: rows from pieces, rows from the network, both against no merge, paired."""
    began = time.process_time()
    lm = LM.open(base_model("en"))
    network = Hypernetwork.load(chosen.hypernet, vocab=lm.vocab)
    pairs, owner = windows(heldout(chosen.lang, n_bytes=chosen.bytes), chosen.prompt)
    makers = {"pieces": "pieces", "hypernet": piece_rows(network, lm.vocab)}
    plain = score_continuations(lm, pairs)
    before = by_document(plain.scores, owner)
    out = []
    for level in LEVELS[1:]:
        runs = {name: score_continuations(lm, pairs, rows=PieceRows(lm.model, lm.vocab, made), reduction=level)
                for name, made in makers.items()}  # fmt: skip
        out.append({
            "reduction": level, "shorter_by": round(float(1 - runs["pieces"].n_after.sum() / plain.n_before.sum()), 4),
            **{f"{name}_change": rounded(by_document(run.scores, owner).change_from(before))
               for name, run in runs.items()},
            "hypernet_minus_pieces": rounded(by_document(runs["hypernet"].scores, owner).change_from(
                by_document(runs["pieces"].scores, owner))),
            **{f"{name}_seconds_rows": round(run.seconds["rows"], 3) for name, run in runs.items()},
            **{f"{name}_hit_rate": round(run.hit_rate, 3) for name, run in runs.items()},
            "seconds_model": round(runs["pieces"].seconds["model"], 3),
        })  # fmt: skip
        print(out[-1], flush=True)
    keep(f"rows-{chosen.lang}", {
        "what": f"base_lm en, prompts of up to {chosen.prompt} bytes merged in batches of 16, the {SHORT} bytes that "
                "follow unmerged; change: bits per byte against no merge, paired, bootstrap over documents",
        "hypernet": Path(chosen.hypernet).joinpath("run.json").is_file()
        and json.loads(Path(chosen.hypernet, "run.json").read_text())["arguments"],
        "documents": len(set(owner)), "prompts": len(pairs),
        "unmerged_bits_per_byte": rounded(before.bits_per_byte()),
        "cpu_seconds": round(time.process_time() - began), "rows": out,
    })  # fmt: skip


def windows(documents: list[str], prompt_bytes: int) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Every stretch of the documents as a prompt and the few bytes behind it, which feel the prompt most; its document.

    Far from the prompt a model of this size hardly looks back at it, and nothing could be told apart.
    """
    pairs, owner = [], []
    for number, document in enumerate(documents):
        for stretch in segments(document, prompt_bytes + prompt_bytes // 2):
            if len(stretch.encode()) > prompt_bytes:
                pairs += [(prompt, segments(tail, SHORT)[0]) for prompt, tail in prompt_pairs([stretch], prompt_bytes)]
                owner += [number] * (len(pairs) - len(owner))
    return pairs, np.array(owner)


def by_document(scores: Scores, owner: np.ndarray) -> Scores:
    _, place = np.unique(owner, return_inverse=True)
    sums = (np.bincount(place, weights=part) for part in (scores.nats, scores.n_bytes, scores.n_tokens))
    return Scores(*sums)


def tuned(chosen: argparse.Namespace) -> None:
    """LoRA on prompts merged to sampled levels against LoRA on ordinary prompts: the same text, steps and seeds."""
    began = time.process_time()
    if chosen.lang == "stories":
        folder, stories = demo_model(), list(read_texts(demo_text("stories")))
        held, train = stories[: len(stories) // 3], stories[len(stories) // 3 :]
    else:
        folder, held = base_model("en"), heldout(chosen.lang, n_bytes=chosen.bytes)
        train = training_texts(chosen.lang)[:600]
    pairs, scored = prompt_pairs(train, chosen.prompt), prompt_pairs(held, chosen.prompt)
    lm = LM.open(folder)
    found = {("untouched", level): [score_continuations(lm, scored, reduction=level).scores] for level in LEVELS}
    for seed in range(chosen.seeds):
        for way, level in (("sampled levels", "uniform"), ("unmerged", 0.0)):
            lm = LM.open(folder)
            batches = continued_batches(lm, pairs, batch_size=chosen.batch, level=level, seed=seed)
            loss = continuation_loss(lm, PieceRows(lm.model, lm.vocab))
            tune(lm.model, batches, loss, steps=chosen.steps, rank=chosen.rank, dropout=0.0, rate=chosen.rate,
                 seed=seed)  # fmt: skip
            for merged in LEVELS:
                scores = score_continuations(lm, scored, reduction=merged).scores
                found.setdefault((way, merged), []).append(scores)
        print(seed, f"{time.process_time() - began:.0f} CPU s", flush=True)
    out = []
    for level in LEVELS:
        ways = {way: found[way, level] for way in ("untouched", "unmerged", "sampled levels")}
        both = zip(ways["sampled levels"], ways["unmerged"], strict=True)
        out.append({
            "reduction": level,
            **{way: rounded(runs[0].bits_per_byte()) for way, runs in ways.items()},
            "sampled_minus_unmerged": [rounded(a.change_from(b)) for a, b in both],
            "by_seed": {way: [round(run.bits_per_byte().value, 4) for run in runs] for way, runs in ways.items()},
        })  # fmt: skip
        print(out[-1], flush=True)
    keep(f"tuned-{chosen.lang}", {
        "what": "bits per byte of unmerged continuations after merged prompts (rows from pieces), LoRA trained on "
                "prompts merged to uniformly drawn levels or unmerged; intervals over prompts of seed 0, "
                "sampled_minus_unmerged paired, one a seed",
        "settings": {k: getattr(chosen, k) for k in ("steps", "batch", "rank", "rate", "prompt", "seeds")},
        "model": Path(folder).name, "trained_on": len(pairs), "prompts": len(scored),
        "cpu_seconds": round(time.process_time() - began), "rows": out,
    })  # fmt: skip


def heads(lm: LM, chosen: argparse.Namespace) -> dict[str, LargeVocabulary]:
    """The model's own head; its vocabulary continued with rows from pieces and from the network, in both searches."""
    from corpus import corpus

    with torch.no_grad():
        own = lm.model.get_output_embeddings().weight[: lm.vocab.size].float().numpy()
        table = lm.model.get_input_embeddings().weight[: lm.vocab.size].float().clone()
    found = {"own": LargeVocabulary(LongestPrefix(lm.vocab), table, Neighbours(own, kind="exact"))}
    makers = {"pieces": "pieces", "hypernet": piece_rows(Hypernetwork.load(chosen.hypernet, vocab=lm.vocab), lm.vocab)}
    for name, made in makers.items():
        exact = large_vocabulary(lm, corpus(chosen.mb), size=chosen.size, rows=made, kind="exact")
        found[f"{name}, exact"] = exact
        search = Neighbours(exact.neighbours.rows_ND, kind="ivf")
        found[f"{name}, index"] = LargeVocabulary(exact.prefix, exact.rows_in, search)
    return found


def writing(chosen: argparse.Namespace) -> None:
    """The same prompts continued with each head, greedily and by the paper's sampling; judged by models and counts."""
    began = time.process_time()
    lm = LM.open(base_model("en"))
    pairs = prompt_pairs(heldout("en", n_bytes=300_000), 160)[: chosen.prompts]
    pairs = [(prompt, segments(tail, WRITTEN_BYTES)[0]) for prompt, tail in pairs]
    judges = {"own model": lm} | ({Path(chosen.judge).name: LM.open(chosen.judge)} if chosen.judge else {})
    made = heads(lm, chosen)
    print(f"heads: {time.process_time() - began:.0f} CPU s", flush=True)
    out, first = [judged("what really follows", judges, pairs, {})], {}
    ways = {"greedy": Choosing(temperature=0.0, repetition_penalty=1.0), "sampled": Choosing()}
    for way, how in ways.items():
        for name, large in made.items():
            wrote, ids, wall, cpu = [], [], time.perf_counter(), time.process_time()
            for number, (prompt, _) in enumerate(pairs):
                said, new = write(lm, large, prompt, max_new_tokens=NEW_TOKENS, how=how, seed=number)
                wrote.append(said)
                ids.append(new)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            n_bytes = np.array([len(said.encode()) for said in wrote])
            n_tokens = np.array([len(new) for new in ids])
            facts = {
                "bytes_a_forward_pass": rounded(ratio_interval(n_bytes, n_tokens)),
                "new_tokens": rounded(ratio_interval([sum(i >= lm.vocab.size for i in new) for new in ids], n_tokens)),
                "cpu_ms_a_byte": round(1000 * cpu / n_bytes.sum(), 2),
                "wall_ms_a_byte": round(1000 * wall / n_bytes.sum(), 2),
                "cpu_ms_a_token": round(1000 * cpu / n_tokens.sum(), 2),
            }  # fmt: skip
            twin = first.get((way, name.replace("index", "exact")))
            if twin is not None:
                same = [sum(a == b for a, b in zip(x, y, strict=False)) for x, y in zip(ids, twin, strict=True)]
                facts["tokens_as_exact"] = rounded(ratio_interval(same, [max(len(x), 1) for x in twin]))
                facts["texts_as_exact"] = sum(x == y for x, y in zip(ids, twin, strict=True))
            first[way, name] = ids
            said = [(prompt, cut(text)) for (prompt, _), text in zip(pairs, wrote, strict=True)]
            out.append(judged(f"{way}: {name}", judges, said, facts))
            print(out[-1], flush=True)
    keep("writing", {
        "what": f"base_lm en, {len(pairs)} held-out prompts of up to 160 bytes, {NEW_TOKENS} tokens written, the first "
                f"{WRITTEN_BYTES} bytes judged; intervals: bootstrap over prompts; sampling: min-p 0.1, top 10, "
                "repetition penalty 1.1; greedy without penalty",
        "entries": len(made["pieces, exact"].neighbours), "text_mb": chosen.mb,
        "cells": made["pieces, index"].neighbours._index.nlist,
        "probes": made["pieces, index"].neighbours._index.nprobe,
        "cpu_seconds": round(time.process_time() - began), "rows": out,
        "example": {"prompt": pairs[0][0], **{name: large.prefix.decode(first["greedy", name][0])
                                              for name, large in made.items()}},
    })  # fmt: skip


def cut(text: str) -> str:
    return segments(text, WRITTEN_BYTES)[0] if text.strip() else ""


def judged(name: str, judges: dict[str, LM], pairs: list[tuple[str, str]], facts: dict) -> dict:
    """Bits per byte of what was written under each judge, after the same prompt, and how varied its words are."""
    kept = [(prompt, tail) for prompt, tail in pairs if tail]
    words = [tail.split() for _, tail in kept]
    grams = {n: [[tuple(w[i : i + n]) for i in range(len(w) - n + 1)] for w in words] for n in (1, 2, 3)}
    return {
        "written": name, "texts": len(kept),
        **{f"bits_per_byte, {judge}": rounded(score_continuations(model, kept).scores.bits_per_byte())
           for judge, model in judges.items()},
        **{f"distinct_{n}": rounded(bootstrap_interval([len(set(g)) / len(g) for g in found if g]))
           for n, found in grams.items()},
        **facts,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("text", "rows", "tuned", "writing"))
    parser.add_argument("--lang", default=None, help="rows: en; tuned: stories, the carried model and its text")
    parser.add_argument("--hypernet", default="NET", help="folder of the trained network")
    parser.add_argument("--judge", default=None, help="folder of another model, which judges what was written")
    parser.add_argument("--prompt", type=int, default=None, help="bytes of a prompt")
    parser.add_argument("--bytes", type=int, default=300_000, help="of held-out text, documents of 2,000")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--size", type=int, default=50_000)
    parser.add_argument("--mb", type=float, default=8, help="text the merges are continued on")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="hyper.jsonl", help="of 'text'")
    chosen = parser.parse_args()
    chosen.lang = chosen.lang or ("stories" if chosen.part == "tuned" else "en")
    chosen.prompt = chosen.prompt or {"en": 240, "stories": 200}.get(chosen.lang, 160)
    torch.set_num_threads(1)
    {"text": text, "rows": rows, "tuned": tuned, "writing": writing}[chosen.part](chosen)


if __name__ == "__main__":
    main()
