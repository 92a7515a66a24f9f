"""Does a skill graph find what a small reference needs, and do its pairs add anything to its skills alone?

    python bench/mass.py --what ranking
    python bench/mass.py --what models
    python bench/mass.py --what gsm8k --data ../shared/data [--encoder PATH]

`ranking`: the language of `tokenry.worlds.operations`, a fifth of the documents combine operations as the reference
does. AUC and precision at that fifth of every way to score, DSIR and a linear classifier (reference against the pool)
beside them; mean and spread over the seeds. `models`: a small Llama trained for the same steps on the fifth that each
way keeps; accuracy on problems drawn anew as the reference has them. `gsm8k`: problems of GSM8K as the reference, the
English and code labels of the mixture and held-out GSM8K problems as the pool: which labels come first, and which
documents. Nothing was tuned on these figures; settings are the defaults. Written to bench/results/mass.json, each part
under its name.
"""

import argparse
import json
import lzma
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pyarrow as pa
from scipy.stats import mannwhitneyu, spearmanr

from tokenry.corpora.skill_extraction import lexical_skills
from tokenry.corpora.skill_graph import SkillGraph, open_embedder
from tokenry.corpora.skills import Scorer, Scoring, background_of, calibrate
from tokenry.worlds.operations import KINDS, Operations

RESULTS = Path(__file__).resolve().parent / "results" / "mass.json"
WAYS = {
    "quadratic": "skills.score", "node-only": "skills.nodes", "edges alone": "skills.edges",
    "linear": "skills.linear", "similarity-only": "skills.similarity",
}  # fmt: skip


def scores_of(world: Operations, n: int, seed: int) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Documents, kinds, and the score of every way."""
    from tokenry.corpora.dsir import Bag, Weights, counts_of
    from tokenry.corpora.linear import LinearClassifier

    reference, problems = world.reference(400)
    documents, kinds = world.documents(n)
    embedder = open_embedder("words", texts=[*reference, *documents], dim=64, seed=seed)
    graph = SkillGraph.build(problems, embedder)
    measured = Scorer(graph).measure(documents)
    made = {way: measured[name] for way, name in WAYS.items()}
    taus = calibrate(graph, background_of(documents, n=200, seed=seed))
    made["quadratic, calibrated on the pool"] = Scorer(graph, Scoring(tau=taus)).score(documents)
    counts = [counts_of(pa.array(texts), Bag()) for texts in (reference, documents)]
    made["DSIR"] = Weights(Bag(), *counts).of(pa.array(documents))[0]
    labels = ["reference"] * len(reference) + ["pool"] * len(documents)
    classifier = LinearClassifier.train([*reference, *documents], labels, seed=seed)
    made["linear classifier"] = classifier.probabilities(documents)[:, classifier.place("reference")]
    made["random"] = np.random.default_rng([seed, 1]).random(len(documents))
    return documents, kinds, made


def auc(scores: np.ndarray, is_wanted: np.ndarray) -> float:
    """Share of (wanted, other) in which the wanted one scores higher; ties count half."""
    return float(mannwhitneyu(scores[is_wanted], scores[~is_wanted]).statistic / is_wanted.sum() / (~is_wanted).sum())


def spread(values: list[float]) -> dict[str, object]:
    deviation = round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None
    each = [round(float(one), 4) for one in values]
    return {"mean": round(float(np.mean(values)), 4), "sd": deviation, "each": each}


def ranking(seeds: list[int], n: int, *, solved: bool) -> dict[str, object]:
    """AUC against all, against each other kind, and the share of pairs in the best fifth."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        _, kinds, made = scores_of(Operations(seed, solved=solved), n, seed)
        for way, scores in made.items():
            row = found.setdefault(way, {})
            row.setdefault("auc", []).append(auc(scores, kinds == "pair"))
            for other in KINDS[1:]:
                both = np.isin(kinds, ["pair", other])
                row.setdefault(f"auc against {other}", []).append(auc(scores[both], kinds[both] == "pair"))
            best = np.argsort(-scores, kind="stable")[:n]
            row.setdefault("precision at a fifth", []).append(float((kinds[best] == "pair").mean()))
    gain = [a - b for a, b in zip(found["quadratic"]["auc"], found["node-only"]["auc"], strict=True)]
    return {"seeds": seeds, "documents": n * len(KINDS), "solved": solved,
            "ways": {way: {name: spread(values) for name, values in row.items()} for way, row in found.items()},
            "auc of quadratic less node-only": spread(gain)}  # fmt: skip


def models(seeds: list[int], n: int, steps: int) -> dict[str, object]:
    """Accuracy on problems of the reference's kind after the same training on what each way keeps."""
    from tokenizers import Tokenizer
    from tokenizers import models as families
    from tokenizers.pre_tokenizers import WhitespaceSplit

    from tokenry.core.vocab import Vocab
    from tokenry.models.tiny import trained_tiny

    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        world = Operations(seed, solved=True)
        documents, kinds, made = scores_of(world, n, seed)
        pieces = {word: at for at, word in enumerate(["[UNK]", "[SEP]", *dict.fromkeys(world.words)])}
        tokenizer = Tokenizer(families.WordPiece(pieces, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        tokenizer.add_special_tokens(["[UNK]", "[SEP]"])
        vocab = Vocab.from_spec(json.loads(tokenizer.to_str()), {"eos_token": "[SEP]", "unk_token": "[UNK]"}, "words")
        problems = [world.problem(world.drawn()) for _ in range(1000)]
        keeps = {way: np.argsort(-made[way], kind="stable")[:n]
                 for way in ("quadratic", "node-only", "similarity-only", "DSIR", "random")}  # fmt: skip
        keeps["planted pairs (cheats)"] = np.flatnonzero(kinds == "pair")
        for way, keep in keeps.items():
            texts = [documents[at] for at in keep]
            lm = trained_tiny(texts, vocab, steps=steps, length=64, batch_size=16, rate=3e-3, seed=seed, width=64)
            row = found.setdefault(way, {})
            row.setdefault("accuracy", []).append(accuracy(lm, vocab, problems))
            row.setdefault("pairs kept", []).append(float((kinds[keep] == "pair").mean()))
            print(seed, way, {name: round(values[-1], 3) for name, values in row.items()}, flush=True)
    ways = {way: {name: spread(values) for name, values in row.items()} for way, row in found.items()}
    gain = [a - b for a, b in zip(*(found[way]["accuracy"] for way in ("quadratic", "node-only")), strict=True)]
    return {"seeds": seeds, "documents": n * len(KINDS), "kept": n, "steps": steps, "problems": 1000, "ways": ways,
            "accuracy of quadratic less node-only": spread(gain)}  # fmt: skip


def accuracy(lm: object, vocab: object, problems: list[tuple[str, str]]) -> float:
    """Share of problems whose next word is the answer; all questions have one length."""
    import torch

    ids = torch.tensor([vocab.backend.encode(question, add_special_tokens=False).ids for question, _ in problems])
    answers = [vocab.backend.encode(answer, add_special_tokens=False).ids[0] for _, answer in problems]
    with torch.inference_mode():
        best = lm.model(input_ids=ids).logits[:, -1].argmax(-1)
    return float((best == torch.tensor(answers)).float().mean())


def lines_of(path: Path) -> list[dict]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def joined(texts: list[str], n_characters: int, most: int) -> list[str]:
    """Runs of neighbouring texts, cut to about `n_characters`; at most `most` of them, evenly."""
    runs, run = [], ""
    for text in texts:
        for start in range(0, len(text), n_characters):
            run = f"{run}\n{text[start : start + n_characters]}" if run else text[start : start + n_characters]
            if len(run) >= n_characters:
                runs.append(run)
                run = ""
    return runs[:: max(1, len(runs) // most)][:most]


def gsm8k(data: Path, encoder: str, n_reference: int, per_label: int) -> dict[str, object]:
    """GSM8K against English documentation, stories and code."""
    problems = [f"{row['question']}\n{row['answer']}" for row in lines_of(data / "qa" / "gsm8k-train.jsonl.xz")]
    reference = problems[:n_reference]
    held = [f"{row['question']}\n{row['answer']}" for row in lines_of(data / "qa" / "gsm8k-test.jsonl.xz")]
    pool = [("gsm8k (held out)", text) for text in joined(held, 1000, per_label)]
    pool += [
        ("lambada", text)
        for text in joined([row["text"] for row in lines_of(data / "qa" / "lambada-test.jsonl.xz")], 1000, per_label)
    ]
    for file in sorted((data / "mixture").glob("*.jsonl.xz")):
        label = file.name.split(".")[0]
        if label == "en" or label.startswith("code_"):
            pool += [(label, text) for text in joined([row["text"] for row in lines_of(file)], 1000, per_label)]
    labels, texts = np.array([label for label, _ in pool]), [text for _, text in pool]
    background = background_of([text for label, text in pool if label != "gsm8k (held out)"], n=500)
    start = time.process_time()
    skills = lexical_skills(reference)
    extracting = time.process_time() - start
    embedder = open_embedder(encoder, texts=[*reference, *background])
    start = time.process_time()
    graph = SkillGraph.build(skills, embedder, least=3)
    building = time.process_time() - start
    result: dict[str, object] = {
        "reference": n_reference, "pool": len(pool), "encoder": Path(encoder).name, "skills": len(graph.skills),
        "names": sum(len(names) for names in graph.members), "pairs": len(graph.edges_E2),
        "first skills": graph.skills[:20],
        "merged": [names[:6] for names in graph.members if len(names) > 1][:12],
        "cpu seconds": {"extract": round(extracting, 2), "graph": round(building, 2)}, "settings": {},
    }  # fmt: skip
    for name, tau in (("tau 0", 0.0), ("calibrated", calibrate(graph, background))):
        scorer = Scorer(graph, Scoring(tau=tau))
        start = time.process_time()
        measured = scorer.measure(texts)
        seconds = time.process_time() - start
        result["settings"][name] = {"documents a cpu second": round(len(texts) / seconds),
                                    **order_of(measured, labels, texts, scorer)}  # fmt: skip
    return result


def order_of(measured: dict, labels: np.ndarray, texts: list[str], scorer: Scorer) -> dict[str, object]:
    """How labels and documents are ranked."""
    is_problem = labels == "gsm8k (held out)"
    made: dict[str, object] = {
        "auc of gsm8k": {way: round(auc(measured[name], is_problem), 4) for way, name in WAYS.items()}
    }
    score = measured["skills.score"]
    others = np.flatnonzero(~is_problem)
    best = others[np.argsort(-score[others], kind="stable")]
    tenth = best[: len(others) // 10]
    counts = {str(label): int((labels[tenth] == label).sum()) for label in np.unique(labels[others])}
    made["best tenth of the rest, by label"] = counts
    made["median score by label"] = {
        str(one): float(f"{np.median(score[labels == one]):.4g}") for one in np.unique(labels)
    }
    made["rank correlation of nodes and edges, without gsm8k"] = round(
        float(spearmanr(measured["skills.nodes"][others], measured["skills.edges"][others]).statistic), 4
    )
    made["share of the score from pairs"] = round(float(np.nansum(measured["skills.edges"]) / np.nansum(score)), 4)
    shown = []
    for at in best[:12]:
        why, label = scorer.explain(texts[at], n=3), str(labels[at])
        # LAMBADA's passages come from books: they are not printed.
        shown.append({
            "label": label, "score": float(f"{score[at]:.4g}"), "text": "" if label == "lambada" else texts[at][:240],
            "skills": [one[0] for one in why.skills], "pairs": [list(one[:2]) for one in why.pairs],
        })  # fmt: skip
    made["first documents of the rest"] = shown
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("ranking", "models", "gsm8k"), required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--n", type=int, default=300, help="documents of each kind")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--encoder", default="words", help="gsm8k: words, or the folder of a sentence encoder")
    parser.add_argument("--reference", type=int, default=2000)
    parser.add_argument("--per-label", type=int, default=150)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    seeds, name, start = [int(one) for one in options.seeds.split(",")], options.what, time.process_time()
    if options.what == "ranking":
        made = {"words": ranking(seeds, options.n, solved=False), "solved": ranking(seeds, options.n, solved=True)}
    elif options.what == "models":
        made = models(seeds, options.n, options.steps)
    else:
        made = gsm8k(options.data, options.encoder, options.reference, options.per_label)
        name = f"gsm8k {Path(options.encoder).name}"
    made |= {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.processor() or "unknown",
             "cpu_seconds": round(time.process_time() - start, 1)}  # fmt: skip
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    options.out.write_text(json.dumps({**results, name: made}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(made, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
