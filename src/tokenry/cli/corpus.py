"""Verbs on documents: score them, and decide later."""

import typer

app = typer.Typer(
    help="From raw documents to the mixture a model should eat: measure first, decide later.", no_args_is_help=True
)
