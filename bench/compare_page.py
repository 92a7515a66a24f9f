"""Write docs/results/compare-methods.md from bench/results/compare_methods.json.

python bench/compare_page.py
"""

import json
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "compare_methods.json"
PAGE = ROOT / "docs" / "results" / "compare-methods.md"
WIDTH = 56
"""Places of the figure in text."""


def rows(result: dict, table: str) -> list[dict]:
    """The rows of a table of the result."""
    columns = result["tables"][table]["columns"]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def ends(row: dict, name: str, *, prefix: str = "") -> str:
    """Value and interval of a column."""
    low, high = (row.get(f"{name}{prefix}, {end}") for end in ("low", "high"))
    if row.get(name) is None or row[name] != row[name]:
        return ""
    return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"


def spread(row: dict, name: str) -> str:
    """An interval alone; empty where there is none."""
    low, high = row.get(f"{name}, low"), row.get(f"{name}, high")
    return "" if low is None or low != low else f"[{low:.3f}, {high:.3f}]"


def _methods(result: dict) -> str:
    lines = ["| rank (step 0) | method | step 0 | after | over orders | from pieces, after | the same, over orders |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows(result, "methods"):
        place = "" if row["rank"] is None else f"{row['rank']} ({row['rank at step 0']})"
        change = "" if row["method"] == "pieces" else ends(row, "from pieces")
        over = "" if row["method"] == "pieces" else spread(row, "from pieces, seeds")
        lines.append(f"| {place} | {row['method']} | {ends(row, 'step 0')} | {ends(row, 'after')} | "
                     f"{spread(row, 'seeds')} | {change} | {over} |")  # fmt: skip
    return "\n".join(lines)


def _places(result: dict) -> str:
    """Each method's place at step 0 and after, by domain or script: rank (rank at step 0) and bits per byte after."""
    out = []
    for table, key, title in (("domains", "domain", "domain"), ("scripts", "script", "script")):
        found = [row for row in rows(result, table) if table == "domains" or row["domain"] == "all"]
        kinds = list(dict.fromkeys(row[key] for row in found))
        order = [row["method"] for row in rows(result, "methods")]
        sizes = {row[key]: row["bytes"] if table == "scripts" else row["units"] for row in found}
        unit = "bytes" if table == "scripts" else "units"
        lines = [f"By {title}: bits per byte at step 0 → after, and place after training (at step 0).", "",
                 "| method | " + " | ".join(f"{kind} ({sizes[kind]:,} {unit})" for kind in kinds) + " |",
                 "|---" * (len(kinds) + 1) + "|"]  # fmt: skip
        by = {(row["method"], row[key]): row for row in found}
        for name in order:
            cells = []
            for kind in kinds:
                row = by[name, kind]
                place = "" if row["rank"] is None else f", {row['rank']} ({row['rank at step 0']})"
                cells.append(f"{row['step 0']:.2f} → {row['after']:.3f}{place}")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        out.append("\n".join(lines))
    return "\n\n".join(out)


def _figure(result: dict) -> str:
    """Both scores of each method on one line, the best after training first: o at step 0, x after."""
    found = [row for row in rows(result, "methods") if row["rank"] is not None]
    # A few starts lie far off and would press the others together; they stand at the edge.
    most = sorted(row["step 0"] for row in found)[int(0.8 * (len(found) - 1))] * 1.1
    least = min(row["after"] for row in found)
    longest = max(len(row["method"]) for row in found)

    def at(value: float) -> int:
        return min(WIDTH - 1, round((min(value, most) - least) / (most - least) * (WIDTH - 1)))

    lines = [f"{'':{longest}}  {least:<{WIDTH // 2}.2f}{most:>{WIDTH - WIDTH // 2}.2f} bits per byte"]
    for row in found:
        line = [" "] * WIDTH
        line[at(row["step 0"])], line[at(row["after"])] = "o" if row["step 0"] <= most else ">", "x"
        turned = row["rank at step 0"] - row["rank"]
        way = f"{'up' if turned > 0 else 'down'} {abs(turned)}" if turned else ""
        places = f"{row['rank at step 0']:>2} to {row['rank']:>2} {way}".rstrip()
        lines.append(f"{row['method']:{longest}}  {''.join(line)}  {places}")
    return "```text\n" + "\n".join(lines) + "\n```"


def _told(found: dict) -> str:
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def page(result: dict) -> str:
    """The page as Markdown."""
    facts = result["facts"]
    budgets = rows(result, "budgets") if "budgets" in result["tables"] else []
    skipped = rows(result, "skipped") if "skipped" in result["tables"] else []
    first = min((row for row in rows(result, "methods") if row["rank"]), key=lambda row: row["rank at step 0"])
    best = facts["best"]
    parts = [
        "# Every initialiser on one pair",
        _filled(
            f"The English model of `bench/base_lm.py` (3 million parameters, English documentation and code) moved to "
            f"a tokenizer of 4,096 entries learned from German and English, by {facts['methods']} methods. Each "
            f"trained {facts['steps']} steps of 8 x 128 tokens on German documentation and English fiction, the same "
            f"batches for all, {facts['seeds']} orders of the text. Scored on documents nothing was trained on; ranks "
            f"are over the two domains that were trained on ({facts['units']} units). Made by"
        ),
        f"```text\n{result['command']}\npython bench/compare_page.py\n```",
        "" if result.get("finished") else "**Not finished: only the orders of the text done so far are shown.**",
        _filled(result["verdict"]),
        "## Both orders",
        _filled(
            "Bits per byte with 95 % intervals over documents (nats averaged over the orders of the text); the columns "
            f"over orders are over the {facts['seeds']} orders (Student's t, so wide). Differences are paired."
        ),
        _methods(result),
        "## Why step 0 does not rank",
        _figure(result),
        _filled(
            f"o: at step 0, x: after training (> : off the scale). Kendall's tau of the two orders: "
            f"{_told(facts['rank_correlation.step_0_and_after'])} over documents. Of {facts['pairs']} pairs of methods "
            f"{facts['pairs.told_apart_after']} are told apart after training; "
            f"{facts['pairs.same_order_at_step_0']} of those stood in the same order at step 0, "
            f"{facts['pairs.turned_round_since_step_0']} the other way round (both by paired intervals). Step 0 would "
            f"have chosen {first['method']}, which is place {first['rank']} after training"
            + ("." if first["method"] != best else ": here it happens to agree at the top, and it does not below.")
        ),
    ]
    if budgets:
        lines = [
            "| step | tau with the order at the end | best of the methods to the worst | best here |",
            "|---|---|---|---|",
        ]
        for row in budgets:
            tau, gap = row["tau with the end"], row["spread of the methods"]
            lines.append(f"| {row['step']} | {tau:.2f} | {gap:.3f} | {row['best here']} |")
        parts += ["On the way (text of the curves, apart from the scored text):", "\n".join(lines)]
    parts += ["## By domain and script", _places(result)]
    if skipped:
        parts += ["Not run: " + "; ".join(f"{row['method']} ({row['why']})" for row in skipped)]
    parts += [
        _filled(
            "(general): never trained on here. Units are documents, or segments of 512 bytes where there are fewer "
            "than 12 documents. By script the nats of a token are spread evenly over its bytes; Common is digits and "
            "marks; scripts over all five texts together."
        ),
        "## What it does not say",
        _filled(
            "One small model, one language close to the base's own, options at their defaults, one budget: the order "
            "at another budget or size is not known. The methods with material get what a user can have (a donor of "
            "300 steps, vectors of 1 MB of text, a hypernetwork of 300 steps), not the best there is. The best of so "
            "many is a little flattered by having been chosen on this text, and pairs are many: one in twenty that "
            "are equal looks different."
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _filled(text: str) -> str:
    return fill(" ".join(text.split()), 120, break_on_hyphens=False)


def main() -> None:
    """Write the page."""
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    chosen.page.write_text(page(json.loads(chosen.results.read_text(encoding="utf-8"))), encoding="utf-8")
    print(chosen.page)


if __name__ == "__main__":
    main()
