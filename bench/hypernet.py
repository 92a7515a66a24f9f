"""Rows from a briefly trained hypernetwork against random, mean and pieces, on tokenizers it never saw.

    python bench/hypernet.py --steps 120        # residual form; a short budget, not the paper's

Base: bench/base_lm.py "en" (width 192, 4,096 entries). Bits per byte on held-out English right after the move (step 0),
with bootstrap intervals over documents, and the paired change against pieces. Step-0 loss does not rank methods after
healing. Written to bench/results/hypernet.json.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import time
from pathlib import Path

import numpy as np
from base_lm import base_model, heldout, training_texts

RESULTS = Path(__file__).resolve().parent / "results" / "hypernet.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--paper-form", action="store_true", help="without the residual; trains the identity first")
    parser.add_argument("--identity-steps", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    import torch

    from tokenry.core.tokenmap import RowKind
    from tokenry.models.lm import LM
    from tokenry.tokenization.train import train
    from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
    from tokenry.transplant.hypernet_training import TrainingConfig, train_identity, train_main
    from tokenry.transplant.planning import Rows
    from tokenry.transplant.scoring import measure
    from tokenry.transplant.surface_forms import surface_forms
    from tokenry.transplant.surgery import move
    from tokenry.transplant.tokenizer_sampling import SamplerConfig, TokenizerSampler

    torch.set_num_threads(1)
    lm, texts, scored = LM.open(base_model("en")), training_texts("en"), heldout("en", n_bytes=50_000)
    lm.model.get_input_embeddings().padding_idx = None
    rows = lm.model.get_input_embeddings().weight.detach().clone()
    shape = HypernetConfig(width=rows.shape[1], layers=1, residual=not options.paper_form)
    network = Hypernetwork(rows, None, shape, excluded=sorted(lm.vocab.special_ids))
    config = TrainingConfig(identity_steps=options.identity_steps, identity_tokens=1024, identity_rate=1e-3,
                            steps=options.steps, rate=5e-4, warmup=options.steps // 10,
                            batch=8, negatives=512)  # fmt: skip
    started = time.process_time()
    if options.identity_steps:
        train_identity(network, lm.vocab, config=config)
    sampler = TokenizerSampler(lm.vocab, texts, config=SamplerConfig(size=4096, pool=256))
    curve = train_main(network, lm, sampler, config=config).history
    seconds = time.process_time() - started

    def made(gap) -> Rows:
        surface, _ = surface_forms(gap.old, [gap.new.tokens[i] for i in gap.ids], pieces=shape.pieces)
        with torch.inference_mode():
            dense = network(torch.from_numpy(surface))[0].numpy()
        return Rows([((), ())] * len(dense), np.full(len(dense), RowKind.GIVEN, np.uint8), dense=dense)

    unseen = {"bpe 4096": {"size": 4096, "pattern": "gpt2"}, "unigram 4096": {"size": 4096, "kind": "unigram"},
              "bpe 600": {"size": 600}}  # fmt: skip
    found = []
    for name, how in unseen.items():
        vocab = train(training_texts("en")[:600], **how)
        scores = {m: measure(move(lm, vocab, method=f).lm, scored, segment_bytes=512)
                  for m, f in (("random",) * 2, ("mean",) * 2, ("pieces",) * 2, ("hypernet", made))}  # fmt: skip
        change = scores["hypernet"].change_from(scores["pieces"])
        for method, score in scores.items():
            bits = score.bits_per_byte()
            found.append({"tokenizer": name, "method": method, "bits_per_byte": [bits.value, bits.low, bits.high]})
            print(f"{name}: {method} {bits}", flush=True)
        said = "better than" if change.high < 0 else "worse than" if change.low > 0 else "not told apart from"
        found[-1] |= {"change_from_pieces": [change.value, change.low, change.high]}
        print(f"{name}: the hypernetwork is {said} pieces: {change}", flush=True)
    original = measure(lm, scored, segment_bytes=512).bits_per_byte()
    record = {"form": "paper" if options.paper_form else "residual", "steps": options.steps, "seed": 0,
              "cpu_seconds": round(seconds, 1), "documents": len(scored), "original": original.value,
              "lm_first_last": [curve[0]["lm"], curve[-1]["lm"]], "rows": found}  # fmt: skip
    print(f"original {original}; {options.steps} steps, {seconds:.0f} CPU s; nats a token {record['lm_first_last']}")
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
