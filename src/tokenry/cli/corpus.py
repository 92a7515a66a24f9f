"""Verbs on documents: score them, and decide later."""

import typer

from tokenry.cli.panels import verbs_under

HEADINGS = {
    "From raw documents to a mixture": (
        "extract", "filings", "describe", "score", "mask", "dedup", "decontaminate", "select", "mix",
        "pack",
    ),
    "What a document is worth": (
        "utility", "train-classifier", "classify", "criteria", "train-rater", "rate", "losses", "predictive", "skills",
    ),
    "How much of what": ("domains", "search-mixture"),
    "Labelled and synthetic text": ("augment", "artifacts", "contexts"),
    "What there is": ("signals", "presets"),
}  # fmt: skip

app = typer.Typer(
    cls=verbs_under(HEADINGS),
    help="From raw documents to the mixture a model should eat: measure first, decide later.",
    no_args_is_help=True,
)
