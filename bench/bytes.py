"""Exact bytes: healing against its baselines, ensembles against their members, speed against genlm-bytes.

    python bench/bytes.py healing  --n 300 --out bench/results/bytes_healing.json
    python bench/bytes.py ensemble --n 60  --out bench/results/bytes_ensemble.json
    python bench/bytes.py speed    --n 12  --out bench/results/bytes_speed.json     # needs genlm-bytes

Models and text: bench/bytes_models.py (two small models of the same text, different tokenizers; documents neither saw).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import platform
import random
import sys
import time
from pathlib import Path

import numpy as np
from bytes_models import KINDS, held_out_texts, member

N_TRUE = 8
"""Bytes after the cut that are asked for."""


def cut_prompts(n: int, seed: int) -> list[tuple[str, str]]:
    """Prompts of held-out documents, cut at a random character, and the N_TRUE bytes that truly follow."""
    rng, found = random.Random(seed), []
    texts = held_out_texts()
    while len(found) < n:
        text = rng.choice(texts).lstrip()
        start = rng.randint(0, max(0, len(text) - 300))
        cut = start + rng.randint(40, 200)
        prompt, rest = text[start:cut].lstrip(), text[cut:].encode()[:N_TRUE]
        if len(rest) == N_TRUE and len(prompt) > 20:
            found.append((prompt, rest))
    return found


def greedy_bytes(lm, ids: list[int], first: bytes = b"") -> bytes:
    """The first N_TRUE bytes of greedy generation after ids; with `first`, of a token that begins with these bytes."""
    from tokenry.decoding.bytes_tokens import SortedTokens
    from tokenry.decoding.speculate import Settings, generate
    from tokenry.models.session import Session

    told, ids = b"", list(ids)
    session = Session.open(lm)
    if first:
        logits_V = session.extend(ids)
        tokens = SortedTokens(lm.vocab)
        node = tokens.node(first)
        allowed = tokens.ids_S[node.low : node.high]
        token = int(allowed[int(logits_V[allowed].argmax())])
        ids, told = [*ids, token], lm.vocab.tokens[token][len(first) :]
    if len(told) < N_TRUE:
        new, _ = generate(session, ids, settings=Settings(max_new_tokens=N_TRUE, n_tokens=lm.vocab.size))
        told += lm.vocab.decode_bytes([t for t in new if t < lm.vocab.size])
    return told[:N_TRUE]


def healing(n: int, seed: int) -> dict:
    """NLL of the true next bytes, and whether greedy generation writes them."""
    from tokenry.core.intervals import bootstrap_interval, wilson_interval
    from tokenry.decoding.bytes import ByteLM
    from tokenry.decoding.bytes_healing import heal
    from tokenry.models.lm import LM

    prompts, result = cut_prompts(n, seed), {}
    for kind in KINDS:
        lm = LM.open(member(kind))
        exact, every = ByteLM(lm), ByteLM(lm, target="all", beam=64)
        nats = {name: [] for name in ("exact", "raw", "trim one token")}
        right = {name: [] for name in nats}
        inside = []
        for prompt, truth in prompts:
            ids = lm.vocab.encode([prompt])[0].tolist()
            going_on = lm.vocab.encode([prompt + truth.decode("utf-8", "ignore")])[0].tolist()
            inside.append(going_on[: len(ids)] != ids)
            ids = [lm.start, *ids]
            last = lm.vocab.tokens[ids[-1]] or b""
            state = exact.after(prompt)
            nats["exact"].append(state.log_p - state.advance(truth).log_p)
            nats["raw"].append(-every.start(ids, spaced=False).advance(truth).log_p)
            trimmed = every.start(ids[:-1], spaced=False).advance(last)
            nats["trim one token"].append(trimmed.log_p - trimmed.advance(truth).log_p)
            healed = heal(exact, prompt)
            told = healed.beyond + greedy_bytes(lm, healed.ids)
            right["exact"].append(told[:N_TRUE] == truth)
            right["raw"].append(greedy_bytes(lm, ids) == truth)
            right["trim one token"].append(greedy_bytes(lm, ids[:-1], last) == truth)
        part = {"share of cuts inside a token": interval(wilson_interval(sum(inside), n))}
        for name, values in nats.items():
            values = np.array(values)
            part[name] = {"nats": interval(bootstrap_interval(values)),
                          "exact match": interval(wilson_interval(int(sum(right[name])), n))}  # fmt: skip
            if name != "exact":
                change = np.array(nats["exact"]) - values
                part[name]["nats of exact minus this"] = interval(bootstrap_interval(change))
                gain = np.array(right["exact"], float) - np.array(right[name], float)
                part[name]["match of exact minus this"] = interval(bootstrap_interval(gain))
        result[kind] = part
    return result


def ensemble(n: int, seed: int) -> dict:
    """Bits per byte of both members, and of their mean and product, on the same pieces of held-out documents."""
    from tokenry.core.intervals import ratio_change_interval, ratio_interval
    from tokenry.decoding.bytes import ByteLM
    from tokenry.decoding.bytes_ensemble import ByteEnsemble
    from tokenry.models.lm import LM

    rng = random.Random(seed)
    pieces = [text[start : start + 200].strip() for text in (held_out_texts() * n)[:n]
              for start in (rng.randint(0, max(0, len(text) - 200)),)]  # fmt: skip
    members = [ByteLM(LM.open(member(kind))) for kind in KINDS]
    sources = dict(zip(KINDS, members, strict=True))
    sources |= {how: ByteEnsemble(members, combine=how) for how in ("mean", "product")}
    sizes = [len(piece.encode()) for piece in pieces]
    bits = {name: [-source.log_prob(piece) / np.log(2) for piece in pieces] for name, source in sources.items()}
    best = min(KINDS, key=lambda kind: sum(bits[kind]))
    result = {"pieces": n, "bytes": sum(sizes), "best member": best}
    for name, values in bits.items():
        result[name] = {"bits per byte": interval(ratio_interval(values, sizes))}
        if name not in KINDS:
            change = ratio_change_interval((bits[best], sizes), (values, sizes))
            result[name]["change from the best member"] = interval(change)
    return result


def speed(n: int, seed: int) -> dict:
    """Bytes a processor second of log P of a text, ours against genlm-bytes, and the error of each."""
    from tokenry.core.intervals import bootstrap_interval, ratio_interval
    from tokenry.decoding.bytes import ByteLM
    from tokenry.models.lm import LM

    lm = LM.open(member("byte-level"))
    rng = random.Random(seed)
    starts = [(text, rng.randint(0, max(0, len(text) - 120))) for text in rng.sample(held_out_texts(), n)]
    pieces = [text[start : start + 120].lstrip().encode("ascii", "ignore") for text, start in starts]
    sizes = np.array([len(piece) for piece in pieces])
    wide = ByteLM(lm, target="all", beam=128)
    truth = np.array([wide.start().advance(piece).log_p for piece in pieces])
    rows: dict[str, list] = {}
    for width, prune in ((5, 0.0), (5, 0.01), (10, 0.0), (10, 0.001)):
        own, name = ByteLM(lm, target="all", beam=width, prune=prune), f"beam {width}, prune {prune}"
        rows[f"genlm-bytes, {name}"] = [_genlm(str(member("byte-level")), piece, width, prune, lm) for piece in pieces]
        rows[f"tokenry all, {name}"] = [_timed(lambda p=piece, o=own: o.start().advance(p).log_p) for piece in pieces]
    for target in ("canonical", "restricted"):
        exact = ByteLM(lm, target=target)
        for name in (f"tokenry {target}, first reading", f"tokenry {target}"):
            rows[name] = [_timed(lambda p=piece, o=exact: o.log_prob(p)) for piece in pieces]
    result = {}
    for name, found in rows.items():
        seconds = np.array([second for second, _ in found])
        errors = np.abs(np.array([value for _, value in found]) - truth) / sizes / np.log(2)
        result[name] = {"bytes a second": interval(ratio_interval(sizes, seconds)),
                        "error, bits per byte": interval(bootstrap_interval(errors))}  # fmt: skip
    for peer in [name for name in rows if name.startswith("genlm")]:
        theirs = np.array([second for second, _ in rows[peer]])
        most = result[peer]["error, bits per byte"]["value"]
        twin = peer.replace("genlm-bytes", "tokenry all")
        equal = [k for k in rows if k.startswith("tokenry") and "first" not in k
                 and result[k]["error, bits per byte"]["value"] <= most * 1.02 + 1e-6]  # fmt: skip
        best = max(equal, key=lambda k: result[k]["bytes a second"]["value"], default=twin)
        for label, ours in (("same settings", twin), (f"at no larger error ({best})", best)):
            seconds = np.array([second for second, _ in rows[ours]])
            result[f"times faster than {peer}: {label}"] = interval(ratio_interval(theirs, seconds))
    return result


def _timed(call) -> tuple[float, float]:
    started = time.process_time()
    value = call()
    return time.process_time() - started, value


_PEER: dict = {}


def _genlm(folder: str, piece: bytes, width: int, prune: float, lm) -> tuple[float, float]:
    """Seconds and log P of a piece by genlm-bytes; its waiting for a batch is set to nothing, which helps it here."""
    import asyncio

    from genlm.backend.llm import AsyncTransformer
    from genlm.bytes import BeamParams, ByteBeamState
    from genlm.bytes.byte_lm.lm_state import StatefulTokenizedLM
    from genlm.bytes.byte_lm.trie_state import LazyTrieState
    from genlm.bytes.trie import AsyncTokenByteTrie, TrieMode

    if not _PEER:
        _PEER["loop"] = asyncio.new_event_loop()
        _PEER["llm"] = AsyncTransformer.from_name(folder, hf_opts={"torch_dtype": "float32"}, timeout=1e-4)
    llm, loop = _PEER["llm"], _PEER["loop"]

    async def run() -> tuple[float, float]:
        llm.clear_cache()
        params = BeamParams(K=width, prune_threshold=prune)
        if "trie" not in _PEER:
            _PEER["trie"] = AsyncTokenByteTrie.from_vocab(llm.byte_vocab, eos_byte_strings=set())
        first = LazyTrieState.initial(llm, _PEER["trie"], mode=TrieMode.WITHOUT_EOS)
        first.lm_state = StatefulTokenizedLM.initial(llm, initial_context=[lm.start])
        state = ByteBeamState([await first.materialize()], params)
        started = time.process_time()
        state = await state.prefill(piece)
        value = state.logZ
        seconds = time.process_time() - started
        return seconds, float(value)

    return loop.run_until_complete(run())


def interval(found) -> dict:
    return {"value": found.value, "low": found.low, "high": found.high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["healing", "ensemble", "speed"])
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    started = time.process_time()
    result = {"healing": healing, "ensemble": ensemble, "speed": speed}[chosen.what](chosen.n, chosen.seed)
    whole = {
        "command": f"python bench/bytes.py {chosen.what} --n {chosen.n} --seed {chosen.seed}",
        "machine": f"{platform.machine()}, one thread, Python {sys.version.split()[0]}",
        "n": chosen.n,
        "seed": chosen.seed,
        "cpu_seconds": round(time.process_time() - started, 1),
        "result": result,
    }
    print(json.dumps(whole, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
