"""Every decoding strategy in one table, on the carried model and on two small models trained here.

    python bench/decoding.py                       # all three, about 15 CPU minutes once the models are there
    python bench/decoding.py --only code           # one of: stories, code, english

    stories   stories260K (0.26 M parameters), beginnings of stories it sampled itself
    code      the target of bench/draft_pair.py (2.1 M), held-out source code, its draft beside it
    english   the base model of bench/base_lm.py (2.1 M), held-out documentation, the same draft: trained on other text

Each is one call of `tokenry.decoding.bench`; the command a user would type stands in the results. Processor time of one
thread, since this machine has other work: ratios are within a prompt and pass.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
from pathlib import Path

import torch

from tokenry.core.report import Report
from tokenry.decoding.benchmark_prompts import beginning, prompts_of
from tokenry.decoding.benchmark_report import bench
from tokenry.decoding.sampling import Settings

RESULTS = Path(__file__).resolve().parent / "results" / "decoding.json"
ALONE = ("plain", "transformers:greedy", "transformers:prompt-lookup", "lookup", "suffix", "recycling",
         "recycling-80=recycling", "self-draft", "confident-exit", "early-exit", "bytes")  # fmt: skip
WITH_DRAFT = ("transformers:assisted", "draft-chain", "draft-tree", "dynamic-tree")


def worlds(n: int) -> dict[str, tuple[object, list[str], list[str], list[str]]]:
    """Name -> model, prompts, strategies, options."""
    found = {"stories": (None, prompts_of(limit=n), list(ALONE), ["recycling-80.size=80"])}

    def trained(name: str) -> tuple[object, list[str], list[str], list[str]]:
        from base_lm import base_model, heldout
        from draft_pair import draft_model, target_model

        model, language = (target_model(), "code") if name == "code" else (base_model(), "en")
        draft = str(draft_model())
        texts = [beginning(text, 300) for text in heldout(language) if len(text) > 1000][:n]
        options = [f"{strategy}.draft={draft}" for strategy in WITH_DRAFT]
        options += ["recycling-80.size=80", f"routed.small={draft}", "routed.router=entropy"]
        return str(model), texts, [*ALONE, *WITH_DRAFT, "routed"], options

    return found | {name: trained(name) for name in ("code", "english")}


def markdown(report: Report) -> str:
    """The two tables of a report as one."""
    text = {row["strategy"]: row for row in report.tables["text and passes"].to_pylist()}
    lines = [
        "| strategy | tokens/s | times plain | per forward | accepted | break-even | forwards + other | same text | "
        "greedy | bits/byte |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report.tables["speed"].to_pylist():
        more, figures = text[row["strategy"]], [row["tokens/s"], row["x plain"], row["per forward"], row["accepted"]]
        figures += [row["break-even"], f"{more['forwards']:,} + {more['other']:,}", more["same text"]]
        figures += [more["greedy"], more["bits/byte"]]
        shown = [
            "-" if x is None else x if isinstance(x, str) else f"{x:.0f}" if x > 50 else f"{x:.2f}" for x in figures
        ]
        lines.append(f"| {row['strategy']} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("stories", "code", "english"))
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", action="store_true", help="print the tables of the last run")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {}
    if not chosen.show:
        for name, (model, prompts, strategies, options) in worlds(chosen.prompts).items():
            if chosen.only in (None, name):
                settings = Settings(max_new_tokens=chosen.tokens)
                report = bench(model, prompts, strategies=strategies, options=options, settings=settings,
                               passes=chosen.passes, clock="cpu")  # fmt: skip
                report.facts["model"] = Path(report.facts["model"]).name
                report.command = f"python bench/decoding.py --only {name} --prompts {chosen.prompts} --tokens " \
                                 f"{chosen.tokens} --passes {chosen.passes}"  # fmt: skip
                found[name] = json.loads(report.to_json())
                chosen.out.parent.mkdir(exist_ok=True)
                chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    for name, record in found.items():
        report = Report.from_json(json.dumps(record))
        print(f"\n## {name}: {report.command}\n\n{markdown(report)}\n\n{report.verdict}")
        print("\n".join(f"- {text}" for text in report.warnings))


if __name__ == "__main__":
    main()
