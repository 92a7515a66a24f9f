"""The help of a group of verbs, in the order of the work, whichever files register them."""

from typer.core import TyperGroup

__all__ = ["verbs_under"]


def verbs_under(headings: dict[str, tuple[str, ...]]) -> type[TyperGroup]:
    """A class of group that shows its verbs under these headings, in this order; a stranger comes last.

    Args:
        headings: heading -> names of its verbs.
    """
    order = [name for names in headings.values() for name in names]

    class Verbs(TyperGroup):
        def list_commands(self, ctx: object) -> list[str]:
            names = super().list_commands(ctx)
            return sorted(names, key=lambda name: order.index(name) if name in order else len(order))

        def get_command(self, ctx: object, cmd_name: str) -> object:
            command = super().get_command(ctx, cmd_name)
            if command is not None:
                found = (heading for heading, names in headings.items() if cmd_name in names)
                command.rich_help_panel = next(found, command.rich_help_panel)
            return command

    return Verbs
