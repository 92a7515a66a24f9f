"""`python -m tokenry` is the same door as the `tokenry` command."""

from tokenry.cli import main

main()
