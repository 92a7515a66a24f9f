"""Transplant by matching pursuit against `mergekit-tokensurgeon`: the same two models, the same k, one core.

    python bench/transplant_vs_mergekit.py --mergekit PYTHON --widths 512,2048,4096

PYTHON is the interpreter of an environment that holds mergekit 0.1.5 (LGPL-3.0; it is run beside us, never imported
by tokenry). Base: a Llama with GPT-2's 50,257 tokens; donor: a Llama with the first merges of Mistral's tokenizer, cut
so that mergekit has some thousand shared tokens and `--targets` or so to make: at the full size it needs hours. Rows
are random with a falling spectrum, as embedding matrices have: time does not depend on what they mean.

Every part runs in a process of its own: CPU seconds and peak memory are those of that process. "command" is the whole
program from its start; "pursuit" the solver alone on the very same anchors and targets, those of mergekit's string
matching. Rows are compared: copied rows bit by bit, made rows by the largest difference.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import numpy as np  # noqa: E402  (the threads must be set first)

RESULTS = Path(__file__).resolve().parent / "results" / "transplant_vs_mergekit.json"
TOKENIZERS = Path(__file__).resolve().parents[2] / "shared" / "data" / "tokenizers"
MERGED = 9000


def cut_mistral(folder: Path, merged: int, chars: int) -> None:
    """Mistral's tokenizer with its first merges and characters only, as a plain Llama tokenizer folder."""
    from tokenry.core.vocab import Vocab

    full = Vocab.open(TOKENIZERS / "mistral" / "tokenizer.model.v1.xz")
    full.to_hf(folder)
    file = folder / "tokenizer.json"
    spec = json.loads(file.read_text(encoding="utf-8"))
    by_id = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    start, singles = 259, [token for token in by_id[259:] if len(token) == 1]
    longer = [token for token in by_id[start:] if len(token) > 1][:merged]
    kept = by_id[:start] + longer + singles[:chars]
    spec["model"]["vocab"] = {token: i for i, token in enumerate(kept)}
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in spec["model"]["merges"]]
    there = set(kept)
    spec["model"]["merges"] = [pair for pair in pairs if {*pair, "".join(pair)} <= there]
    file.write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "LlamaTokenizerFast"  # how mergekit knows the mark of a word's start
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def made_model(folder: Path, vocab: object, width: int, seed: int) -> None:
    """A one-layer Llama whose embedding rows fall off as 1 / sqrt(rank); its tokenizer is in place already."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 8}
    config = LlamaConfig(vocab_size=vocab.size, tie_word_embeddings=True, **shape)
    model = LlamaForCausalLM(config)
    rng = np.random.default_rng(seed)
    scale = (0.02 / np.sqrt(1 + np.arange(width) / 16)).astype(np.float32)
    rows = rng.standard_normal((vocab.size, width), dtype=np.float32) * scale
    model.model.embed_tokens.weight.data = torch.from_numpy(rows)
    model.tie_weights()
    model.save_pretrained(folder)


def make_pair(place: Path, width: int, chars: int) -> tuple[Path, Path]:
    """Base and donor folders."""
    from tokenry.core.vocab import Vocab

    base, donor = place / "base", place / "donor"
    vocab = Vocab.open(TOKENIZERS / "gpt2")
    vocab.to_hf(base)
    config = json.loads((base / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "GPT2TokenizerFast"
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    cut_mistral(donor, MERGED, chars)
    made_model(base, vocab, width, 0)
    made_model(donor, Vocab.open(donor), width, 1)
    return base, donor


def peak_mb() -> float:
    """Most memory this program has held; the system's own count also remembers the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def usage(began: float) -> dict:
    """What this process has used since its start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_seconds": used.ru_utime + used.ru_stime, "wall_seconds": time.time() - began,
            "peak_mb": peak_mb()}  # fmt: skip


def run_mergekit(place: Path, k: int) -> dict:
    """The peer's own command, with its solver timed and what the solver was asked kept."""
    began = time.time()
    import mergekit.scripts.tokensurgeon as surgeon
    import torch

    torch.set_num_threads(1)
    kept: dict = {"targets": [], "picks": [], "seconds": 0.0}
    plain, rows_of = surgeon.batch_omp, surgeon.compute_new_embeddings

    def timed(targets, points, *args, **options):
        start = time.process_time()
        found = plain(targets, points, *args, **options)
        kept["seconds"] += time.process_time() - start
        kept["targets"].append(targets.numpy().copy())
        kept["picks"].append(found[0].numpy())
        kept["anchors"] = points.numpy()
        return found

    def watched(orig_embed, donor_embed, orig_vocab, donor_vocab, target_tokens, **options):
        kept.setdefault("ids", []).extend(donor_vocab[token] for token in target_tokens)
        shared = sorted(set(orig_vocab) & set(donor_vocab), key=lambda token: donor_vocab[token])
        kept["donor_ids"] = [donor_vocab[token] for token in shared]
        kept["base_ids"] = [orig_vocab[token] for token in shared]
        return rows_of(orig_embed, donor_embed, orig_vocab, donor_vocab, target_tokens, **options)

    surgeon.batch_omp, surgeon.compute_new_embeddings = timed, watched
    arguments = [str(place / "base"), str(place / "donor"), str(place / "peer"), "-k", str(k), "-a", "omp"]
    surgeon.main(arguments, standalone_mode=False)
    found = usage(began)
    np.savez(place / "asked.npz", targets=np.concatenate(kept["targets"]), picks=np.concatenate(kept["picks"]),
             **{name: np.asarray(kept[name]) for name in ("anchors", "ids", "donor_ids", "base_ids")})  # fmt: skip
    return found | {"pursuit_cpu_seconds": kept["seconds"]}


def run_pursuit(place: Path, k: int, memory_mb: int | None) -> dict:
    """Our solver on the peer's anchors and targets."""
    from tokenry.transplant.omp import matching_pursuit

    with np.load(place / "asked.npz") as file:
        targets, anchors = file["targets"], file["anchors"]
    before = peak_mb()
    matching_pursuit(targets[:4], anchors[:64], k=4, form="gram")  # libraries load here
    start = time.process_time()
    picks, weights = matching_pursuit(targets, anchors, k=k, memory_mb=memory_mb, tolerance=0)
    seconds = time.process_time() - start
    np.savez(place / "ours.npz", picks=picks, weights=weights)
    peak = peak_mb()
    return {"pursuit_cpu_seconds": seconds, "peak_mb": peak, "work_mb": peak - before}


def run_ours(place: Path, k: int, memory_mb: int | None) -> dict:
    """Our own command, with anchors by bytes."""
    began = time.time()
    from tokenry.cli import app

    arguments = ["transplant", str(place / "base"), "--donor", str(place / "donor"), "--method", "omp", "--k", str(k),
                 "--out", str(place / "moved"), "--json", "-q"]  # fmt: skip
    arguments += [] if memory_mb is None else ["--memory-mb", str(memory_mb)]
    printed, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    try:
        app(arguments, standalone_mode=False)
    finally:
        sys.stdout = printed
    return usage(began)


def embedding(folder: Path) -> np.ndarray:
    """Input rows of a written model."""
    from tokenry.models.files import embedding_names, read_tensor

    return read_tensor(folder, embedding_names(folder).input).float().numpy()


def compare(place: Path) -> dict:
    """Whether both made the same rows: copies bit by bit, the others on equal anchors."""
    from tokenry.core.vocab import Vocab
    from tokenry.transplant.matching import match
    from tokenry.transplant.omp import combine

    with np.load(place / "asked.npz") as file:
        asked = {name: file[name] for name in file.files}
    with np.load(place / "ours.npz") as file:
        picks, weights = file["picks"], file["weights"]
    base, peer, moved = (embedding(place / name) for name in ("base", "peer", "moved"))
    ours = combine(picks, weights, base[asked["base_ids"]])
    theirs = peer[asked["ids"]]
    same = (np.sort(picks, axis=1) == np.sort(asked["picks"], axis=1)).all(axis=1)
    found = match(Vocab.open(place / "base"), Vocab.open(place / "donor"))
    agree = found.new_to_old[asked["donor_ids"]] == asked["base_ids"]
    both = asked["donor_ids"][agree]
    norms = np.linalg.norm(theirs[same], axis=1)
    return {
        "shared_by_peer": len(asked["donor_ids"]),
        "shared_by_bytes": int((found.new_to_old >= 0).sum()),
        "targets": len(asked["ids"]),
        "copies_both_agree_on": int(both.size),
        "copies_bit_equal": bool((peer[both] == moved[both]).all()),
        "same_supports": float(same.mean()),
        "largest_relative_difference_same_supports": float(
            (np.linalg.norm(ours[same] - theirs[same], axis=1) / norms).max(initial=0)
        ),
        "allclose_same_supports": bool(np.allclose(ours[same], theirs[same], rtol=1e-3, atol=1e-5)),
    }


def child(python: str, part: str, place: Path, arguments: argparse.Namespace) -> dict:
    """Run one part in a process of its own and read what it measured."""
    command = [python, __file__, "--part", part, "--place", str(place), "--k", str(arguments.k)]
    command += [] if arguments.memory_mb is None else ["--memory-mb", str(arguments.memory_mb)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((place / f"{part}.json").read_text())


def one_width(width: int, arguments: argparse.Namespace) -> dict:
    """All parts at one width; the least of the repeats of our short parts."""
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        place = Path(folder)
        make_pair(place, width, arguments.chars)
        peer = child(arguments.mergekit, "mergekit", place, arguments)
        pursuit = child(sys.executable, "pursuit", place, arguments)
        ours = child(sys.executable, "ours", place, arguments)
        found = {"width": width, "k": arguments.k, "mergekit": peer, "pursuit": pursuit, "command": ours}
        found |= compare(place)
    found["pursuit_times_faster"] = peer["pursuit_cpu_seconds"] / pursuit["pursuit_cpu_seconds"]
    found["command_times_faster"] = peer["cpu_seconds"] / ours["cpu_seconds"]
    return found


def main() -> None:
    """Parse, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mergekit", help="interpreter of the environment with mergekit")
    parser.add_argument("--widths", default="512,2048,4096")
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--chars", type=int, default=600, help="single characters of the donor; they are most targets")
    parser.add_argument("--memory-mb", type=int, help="our bound; none is our default")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", choices=("mergekit", "pursuit", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        place = arguments.place
        if arguments.part == "mergekit":
            found = run_mergekit(place, arguments.k)
        else:
            run = run_pursuit if arguments.part == "pursuit" else run_ours
            found = run(place, arguments.k, arguments.memory_mb)
        (place / f"{arguments.part}.json").write_text(json.dumps(found))
        return
    from omp import machine

    result = {
        "what": "tokenizer transplant by matching pursuit, CPU seconds on one core; peer mergekit 0.1.5",
        "command": " ".join(["python bench/transplant_vs_mergekit.py", *sys.argv[1:]]),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rows": [],
    }
    for width in map(int, arguments.widths.split(",")):
        result["rows"].append(one_width(width, arguments))
        print(json.dumps(result["rows"][-1]), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
