"""Rows from a briefly trained hypernetwork against pieces, FOCUS, mean and random, on tokenizers it never saw.

    python bench/hypernet.py --part causal --steps 300 --seeds 3    # next token; the small LM of bench/base_lm.py "en"
    python bench/hypernet.py --part masked --steps 300 --seeds 3    # masked words; the small BERT of bench/base_lm.py
    python bench/hypernet.py --part nshot --steps 300 --seeds 3     # both trained on after the move, at equal CPU time
    python bench/hypernet.py --part causal --paper-form --identity-steps 150 --seeds 1 --out results/hypernet_paper.json

Short budgets, not the paper's (200,000 steps). Bits per byte on held-out English: of all text for the causal model, of
hidden words for the masked one (`transplant.masked_scoring`: the same words under every tokenizer, a code length).
Intervals: bootstrap over documents within a seed; the spread over seeds stands beside. Right after the move (step 0),
but for nshot; step-0 loss does not rank methods after healing. Each part goes into
bench/results/hypernet.json as it comes.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from base_lm import SPECIALS, base_masked, base_model, heldout, training_texts

RESULTS = Path(__file__).resolve().parent / "results" / "hypernet.json"
BASELINES = ("random", "mean", "pieces", "focus")
UNSEEN = {"bpe": {"pattern": "gpt2"}, "unigram": {"kind": "unigram"}, "bpe 600": {"size": 600}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("causal", "masked", "nshot"), default="causal")
    parser.add_argument("--steps", type=int, default=300, help="of the main stage")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nshot-steps", type=int, default=30, help="of the model with its network; the others by time")
    parser.add_argument("--paper-form", action="store_true", help="without the residual; trains the identity first")
    parser.add_argument("--identity-steps", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=100_000, help="of held-out text")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    part = nshot if options.part == "nshot" else compare
    part(Setting(options), options)


class Setting:
    """The model, its text and how it is scored."""

    def __init__(self, options: argparse.Namespace) -> None:
        from tokenry.models.scoring import is_masked
        from tokenry.transplant.masked import open_model

        self.lm = open_model(base_masked("en") if options.part == "masked" else base_model("en"))
        self.is_masked = is_masked(self.lm.model)
        if not self.is_masked:
            self.lm.model.get_input_embeddings().padding_idx = None
        self.texts, self.scored = training_texts("en"), heldout("en", n_bytes=options.bytes)
        self.size = 2048 if self.is_masked else 4096

    def measure(self, lm: object) -> object:
        from tokenry.transplant.masked_scoring import score_masked
        from tokenry.transplant.scoring import measure

        if self.is_masked:
            return score_masked(lm, self.scored, segment_bytes=256)
        return measure(lm, self.scored, segment_bytes=512)

    def unseen(self) -> dict[str, object]:
        from tokenry.tokenization.train import train

        more = {"specials": SPECIALS} if self.is_masked else {}
        return {name: train(self.texts[:600], **{"size": self.size, **how}, **more) for name, how in UNSEEN.items()}

    def network(self, options: argparse.Namespace, seed: int) -> tuple[object, dict]:
        """A trained network and what it cost."""
        from tokenry.transplant.hypernet import HypernetConfig, Hypernetwork
        from tokenry.transplant.hypernet_training import TrainingConfig, train_identity, train_main
        from tokenry.transplant.tokenizer_sampling import SamplerConfig, TokenizerSampler

        lm, head = self.lm, self.lm.model.get_output_embeddings()
        rows = lm.model.get_input_embeddings().weight.detach().clone()
        bias = None if getattr(head, "bias", None) is None else head.bias.detach().clone()
        shape = HypernetConfig(width=rows.shape[1], layers=1, residual=not options.paper_form, bias=bias is not None)
        network = Hypernetwork.for_vocab(lm.vocab, rows, None, config=shape, source_bias=bias, seed=seed)
        config = TrainingConfig(identity_steps=options.identity_steps, identity_tokens=1024, identity_rate=1e-3,
                                steps=options.steps, rate=5e-4, warmup=max(1, options.steps // 10),
                                batch=8, negatives=512, seed=seed)  # fmt: skip
        started = time.process_time()
        if options.identity_steps:
            train_identity(network, lm.vocab, config=config)
        how = SamplerConfig(size=self.size, pool=256)
        curve = train_main(network, lm, TokenizerSampler(lm.vocab, self.texts, config=how, seed=seed), config=config)
        spent = {"cpu_seconds": round(time.process_time() - started, 1)}
        means = [float(np.mean([e["lm"] for e in part])) for part in (curve.history[:20], curve.history[-20:])]
        return network.eval(), spent | {"nats_first_last_20": means}


def compare(setting: Setting, options: argparse.Namespace) -> None:
    """The network of each seed beside the baselines, tokenizer by tokenizer."""
    record = {"steps": options.steps, "form": "paper" if options.paper_form else "residual",
              "identity_steps": options.identity_steps, "documents": len(setting.scored), "seeds": {},
              "unit": "bits per byte of hidden words" if setting.is_masked else "bits per byte"}  # fmt: skip
    record["original"] = told(setting.measure(setting.lm).bits_per_byte())
    unseen, known = setting.unseen(), {}
    record["baselines"] = {}
    for name, vocab in unseen.items():
        known[name] = {m: setting.measure(moved(setting, vocab, m)) for m in BASELINES}
        record["baselines"][name] = {m: told(score.bits_per_byte()) for m, score in known[name].items()}
        print(f"{name}: {record['baselines'][name]}", flush=True)
        write(options, record)
    for seed in range(options.seeds):
        network, facts = setting.network(options, seed)
        for name, vocab in unseen.items():
            score = setting.measure(moved(setting, vocab, "hypernet", network))
            facts[name] = {"bits_per_byte": told(score.bits_per_byte())}
            facts[name] |= {f"change_from_{m}": told(score.change_from(known[name][m])) for m in ("pieces", "focus")}
        record["seeds"][seed] = facts
        print(f"seed {seed}: {facts}", flush=True)
        record["over_seeds"] = over_seeds(record["seeds"], list(unseen))
        write(options, record)


def over_seeds(seeds: dict[int, dict], names: list[str]) -> dict:
    """Mean, least and greatest change over the seeds."""
    out: dict = {}
    for name in names:
        for key in ("change_from_pieces", "change_from_focus"):
            values = [facts[name][key][0] for facts in seeds.values()]
            out.setdefault(name, {})[key] = [float(np.mean(values)), min(values), max(values)]
    return out


def nshot(setting: Setting, options: argparse.Namespace) -> None:
    """Train on after the move: body with the network, body with the network's rows, body with rows of pieces."""
    from tokenry.transplant.hypernet_nshot import NshotConfig, train_nshot

    network, spent = setting.network(options, 0)
    vocab = setting.unseen()["bpe"]
    how = {"rate": 3e-4, "batch": 8, "length": 128}
    warm = train_nshot(moved(setting, vocab, "pieces"), setting.texts, config=NshotConfig(steps=5, **how))
    record = {"hypernet_steps": options.steps, **spent, **how, "tokenizer": "bpe", "documents": len(setting.scored)}
    record |= {"original": told(setting.measure(setting.lm).bits_per_byte()), "step_0": {}, "seeds": {}}
    start = {name: setting.measure(moved(setting, vocab, name, network)) for name in ("hypernet", "pieces")}
    record["step_0"] = {name: told(score.bits_per_byte()) for name, score in start.items()}
    for seed in range(options.seeds):
        import copy

        own = copy.deepcopy(network)
        lm = moved(setting, vocab, "hypernet", network)
        how_long = NshotConfig(steps=options.nshot_steps, seed=seed, **how)
        run = train_nshot(lm, setting.texts, config=how_long, network=own, old=setting.lm.vocab)
        steps = max(1, round(run.cpu_seconds / (warm.cpu_seconds / warm.steps)))
        scores = {"network + body": (setting.measure(lm), run)}
        for name, method in (("hypernet rows + body", "hypernet"), ("pieces rows + body", "pieces")):
            lm = moved(setting, vocab, method, network)
            run = train_nshot(lm, setting.texts, config=NshotConfig(steps=steps, seed=seed, **how))
            scores[name] = (setting.measure(lm), run)
        control = scores["pieces rows + body"][0]
        record["seeds"][seed] = {
            name: {"bits_per_byte": told(score.bits_per_byte()), "steps": run.steps,
                   "cpu_seconds": round(run.cpu_seconds, 1), "change_from_pieces": told(score.change_from(control))}
            for name, (score, run) in scores.items()
        }  # fmt: skip
        print(f"seed {seed}: {record['seeds'][seed]}", flush=True)
        write(options, record)


def moved(setting: Setting, vocab: object, method: str, network: object = None) -> object:
    """The model on another tokenizer."""
    from tokenry.transplant.surgery import move

    if method != "hypernet":
        more = {"texts": setting.texts} if method == "focus" else {}
        return move(setting.lm, vocab, method=method, **more).lm
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder) / "net")
        return move(setting.lm, vocab, method="hypernet", hypernet=str(Path(folder) / "net")).lm


def told(interval: object) -> list[float]:
    return [round(float(x), 5) for x in (interval.value, interval.low, interval.high)]


def write(options: argparse.Namespace, record: dict) -> None:
    """Put a part into the file, beside the others."""
    import platform

    kept = json.loads(options.out.read_text()) if options.out.is_file() else {}
    kept = kept if "machine" in kept else {}
    kept |= {"machine": f"{platform.processor() or platform.machine()}, one thread", options.part: record}
    options.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
