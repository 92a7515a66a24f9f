"""Routing between a small and a large model on step-by-step problems: accuracy at an equal share of large tokens.

    python bench/routing.py run --seed 0      # one pair: labels, router, curve; about 10 CPU minutes with the training
    python bench/routing.py summary           # all seeds that were run -> bench/results/routing.json

Problems, their right answers and what a wording may differ in are made (`worlds.digit_steps`), the models are trained
here (`routing_pair`). The router is trained and thresholds are set on problems of the training set; all figures are of
120 problems that neither the models nor the router saw. Accuracies at a share are read between measured points.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
from corpus import cache_folder
from routing_pair import SHAPES, WORLD, pair

RESULTS = Path(__file__).parent / "results" / "routing.json"
SHARES, READ_AT = (0.05, 0.1, 0.2, 0.35), (0.05, 0.1, 0.2)
N_LABELLED, N_CALIBRATION, N_TEST, N_TRUE = 160, 30, 120, 20
TOKENS = 60


def measure(seed: int) -> dict:
    """Everything of one seed."""
    import torch

    from tokenry.decoding.divergence import PathRouter
    from tokenry.decoding.router_training import RouterTraining, train_router
    from tokenry.decoding.routers import EntropyRouter, RandomRouter
    from tokenry.decoding.routing_curve import measure_curve
    from tokenry.decoding.routing_labels import label_prompts
    from tokenry.decoding.sampling import Settings
    from tokenry.models.lm import LM
    from tokenry.worlds.digit_steps import DigitSteps, same_steps

    torch.set_num_threads(1)
    world = DigitSteps(WORLD)
    small, large = map(LM.open, pair(seed))
    known = world.known_problems(N_LABELLED + N_CALIBRATION, seed=7)
    started = time.process_time()
    folder = cache_folder() / "routing" / f"labels-{seed}"
    labelled = label_prompts(small, large, known[:N_LABELLED], out=folder, verifier=same_steps, max_new_tokens=TOKENS)
    label_seconds, started = time.process_time() - started, time.process_time()
    how = RouterTraining(rate=1e-3, batch=256, epochs=40, seed=seed)
    router, trained = train_router(folder, small=small, inner=64, blocks=2, training=how)
    train_seconds = time.process_time() - started
    path = PathRouter(large, same_steps)
    routers = {
        "router": router,
        "entropy": EntropyRouter(),
        "random": RandomRouter(seed),
    }
    settings = Settings(max_new_tokens=TOKENS)

    def is_right(prompt: str, text: str, reference: str) -> float:
        return float(world.is_right(prompt, text))

    shared = {"quality": is_right, "settings": settings, "batch": 60, "calibration": known[N_LABELLED:]}
    points = measure_curve(small, large, world.problems(N_TEST, seed=8), routers=routers, shares=SHARES, **shared)
    points += _own(small, large, world, {"true labels": path, "own threshold": router}, shared)
    facts = {key: _plain(value) for key, value in {**labelled.facts, **trained.facts}.items()}
    recalls = trained.tables["recall at a rate"].to_pydict()
    return {"seed": seed, "facts": facts, "recall_at_rate": recalls, "label_cpu_seconds": label_seconds,
            "train_cpu_seconds": train_seconds, "points": [_record(point) for point in points]}  # fmt: skip


def _own(small: object, large: object, world: object, routers: dict, shared: dict) -> list:
    """Routers at their own threshold on the test problems; the true labels, which are dear, on the first of them."""
    from tokenry.decoding.routing_curve import _Bench
    from tokenry.decoding.strategies import settings_for

    found = []
    for name, router in routers.items():
        problems = world.problems(N_TEST, seed=8)[: N_TRUE if name == "true labels" else N_TEST]
        settings = settings_for(large, shared["settings"])
        bench = _Bench(small, large, problems, shared["quality"], settings, shared["batch"])
        found.append(bench.point(name, float("nan"), router=router, threshold=router.threshold))
    return found


def _record(point: object) -> dict:
    names = ("activated_parameters", "multiplied_parameters", "large_forwards", "n_tokens", "seconds")
    cost = {name: getattr(point.cost, name) for name in names}
    arrays = {name: getattr(point, name).tolist() for name in ("quality", "bits", "n_bytes", "large_tokens", "tokens")}
    return {"way": point.way, "asked": None if point.asked != point.asked else point.asked, **cost, **arrays}


def summary(seeds: list[dict]) -> dict:
    """Accuracy at equal shares and the paired gain of the router: means over seeds, intervals over problems."""
    from tokenry.core.intervals import bootstrap_interval, ratio_interval

    at, gains, ends, bits = {}, {}, {}, {}
    ways = ("router", "entropy", "random", "prompts")
    for share in READ_AT:
        found = {way: np.mean([_at(seed["points"], way, share) for seed in seeds], axis=0) for way in ways}
        at[str(share)] = {way: _plain(bootstrap_interval(values)) for way, values in found.items()}
        gains[str(share)] = {
            way: _plain(bootstrap_interval(found["router"] - found[way])) for way in ways if way != "router"
        }
        gains[str(share)]["by seed"] = {
            way: [float((_at(s["points"], "router", share) - _at(s["points"], way, share)).mean()) for s in seeds]
            for way in ways if way != "router"
        }  # fmt: skip
        bits[str(share)] = {
            way: round(float(np.mean([_bits(s["points"], way, share) for s in seeds])), 4) for way in ways
        }
    for way in ("small", "large", "true labels", "own threshold"):
        rows = [next(point for point in seed["points"] if point["way"] == way) for seed in seeds]
        tokens = [(row["large_tokens"], row["tokens"]) for row in rows]
        ends[way] = {
            "accuracy": _plain(bootstrap_interval(np.mean([row["quality"] for row in rows], axis=0))),
            "large_share": _plain(ratio_interval(*map(np.concatenate, zip(*tokens, strict=True)))),
            "activated_parameters": float(np.mean([row["activated_parameters"] for row in rows])),
            "multiplied_parameters": float(np.mean([row["multiplied_parameters"] for row in rows])),
        }  # fmt: skip
    shares = {
        kind: [s["facts"][f"{kind}_share"]["value"] for s in seeds] for kind in ("identical", "neutral", "divergent")
    }
    return {"seeds": [seed["seed"] for seed in seeds], "n_problems": N_TEST, "label_shares": shares, "models": ends,
            "accuracy_at_share": at, "gain_of_router": gains, "bits_per_byte_under_large_at_share": bits,
            "recall_at_rate": [seed["recall_at_rate"] for seed in seeds]}  # fmt: skip


def _at(points: list[dict], way: str, share: float) -> np.ndarray:
    """Quality of each problem at a share, between measured points."""
    below, above, weight = _around(points, way, share)
    return (1 - weight) * np.array(below["quality"]) + weight * np.array(above["quality"])


def _bits(points: list[dict], way: str, share: float) -> float:
    below, above, weight = _around(points, way, share)
    rates = [sum(point["bits"]) / sum(point["n_bytes"]) for point in (below, above)]
    return (1 - weight) * rates[0] + weight * rates[1]


def _around(points: list[dict], way: str, share: float) -> tuple[dict, dict, float]:
    on = sorted((p for p in points if p["way"] in (way, "small", "large")), key=_share)
    place = int(np.clip(np.searchsorted([_share(point) for point in on], share), 1, len(on) - 1))
    low, high = _share(on[place - 1]), _share(on[place])
    return on[place - 1], on[place], 0.0 if high == low else (share - low) / (high - low)


def _share(point: dict) -> float:
    return sum(point["large_tokens"]) / sum(point["tokens"])


def _plain(value: object) -> object:
    from dataclasses import asdict, is_dataclass

    return asdict(value) if is_dataclass(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=("run", "summary"))
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    kept = cache_folder() / "routing"
    if chosen.job == "run":
        found = measure(chosen.seed)
        (kept / f"result-{chosen.seed}.json").write_text(json.dumps(found))
    results = [json.loads(file.read_text()) for file in sorted(kept.glob("result-*.json"))]
    told = summary(results)
    machine = {"cpu": platform.processor() or platform.machine(), "python": platform.python_version(), "threads": 1}
    told |= {
        "command": "python bench/routing.py run --seed 0 (1, 2); python bench/routing.py summary",
        "machine": machine,
    }
    told["shapes"] = SHAPES
    if chosen.job == "summary":
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(told, indent=1) + "\n")
    json.dump(told, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
