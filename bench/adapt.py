"""The main job as a user runs it: the demonstration, and a 125M-parameter Llama adapted without healing.

    python bench/adapt.py

Each case is `tokenry adapt` in a process of its own; wall, processor seconds and peak memory are the system's own
figures of that process. The large model has random weights: it shows what the move costs, not what it gains. The
result is written to bench/results/adapt.json. Targets: demo under 180 s on two busy cores; the large move under 120 s
and 4 GB.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "adapt.json"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
PARENT = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); \
u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss)"


def measured(*arguments: str) -> dict:
    """Run `tokenry ARGUMENTS` once; wall and processor seconds, peak memory."""
    start = time.perf_counter()
    command = [sys.executable, "-c", PARENT, sys.executable, "-m", "tokenry", *arguments, "--quiet"]
    out = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout
    cpu, peak = out.split()[-2:]
    return {
        "command": "tokenry " + " ".join(arguments),
        "wall_seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(float(cpu), 1),
        "peak_gb": round(int(peak) / 2**20, 2),
    }


def large_model(folder: Path, text: Path) -> int:
    """A Llama of about 125M random weights with a tokenizer of 32,000 entries trained on the carried text and code."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tokenry.core.tables import texts
    from tokenry.tokenization.train import train

    library = sorted(Path(os.__file__).parent.glob("*.py"))
    documents = [*texts(text), *(path.read_text(encoding="utf-8", errors="replace") for path in library)]
    vocab = train(documents, size=32_000)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab.size,
            hidden_size=768,
            intermediate_size=2560,
            num_hidden_layers=12,
            num_attention_heads=12,
            num_key_value_heads=12,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=vocab.specials["bos"],
            eos_token_id=vocab.specials["eos"],
        )
    )
    model.save_pretrained(folder)
    vocab.to_hf(folder)
    return sum(p.numel() for p in model.parameters())


def main() -> None:
    from tokenry.data import demo_text

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        demo = measured("adapt", "--demo", "--out", str(folder / "demo"))
        facts = json.loads((folder / "demo" / "report" / "report.json").read_text())["facts"]
        keep = ("bits_per_byte", "bytes_per_token", "bytes_per_second", "recommended", "method")
        demo["facts"] = {key: value for key, value in facts.items() if key.startswith(keep)}
        demo["command"] = "tokenry adapt --demo --out DIR"
        n = large_model(folder / "large", demo_text("fiction"))
        large = measured("adapt", str(folder / "large"), "--data", str(demo_text("fiction")), "--add", "4000",
                         "--heal-steps", "0", "--no-control", "--out", str(folder / "moved"))  # fmt: skip
        large["command"] = "tokenry adapt LARGE --data FICTION --add 4000 --heal-steps 0 --no-control --out DIR"
        large["parameters"] = n
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": 1,
               "python": platform.python_version(), "load_average": os.getloadavg()[0]}  # fmt: skip
    when = datetime.now(UTC).isoformat(timespec="seconds")
    result = {"what": "the main job", "command": "python bench/adapt.py", "when": when, "machine": machine}
    result |= {"demo": demo, "large": large}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB", file=sys.stderr)


if __name__ == "__main__":
    main()
