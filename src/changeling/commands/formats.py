"""Commands that follow from a table of formats: the fields of an importer or exporter are the parameters.

Commands and contexts are untyped here, because some versions of typer bring their own copy of click.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import typer
from typer.core import TyperGroup

from changeling.commands.shared import suggest_command


class LazyFormatGroup(TyperGroup):
    """A group with a subcommand for each format of a table, which is imported only when the group is used.

    Commands that are added to the group as usual follow after them.
    """

    @abstractmethod
    def formats(self) -> Mapping[str, object]:
        """The table of formats by name."""

    @abstractmethod
    def make_format_command(self, name: str) -> Any:
        """Make the command of one format."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the formats and of the other commands."""
        return [*self.formats(), *super().list_commands(ctx)]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names; a misspelt format is an error with a suggestion."""
        suggest_command(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a format or another command; None if there is no such command."""
        if cmd_name in self.formats():
            return self.make_format_command(cmd_name)
        return super().get_command(ctx, cmd_name)


def make_command(name: str, format_type: type, run: Callable[..., None]) -> Any:
    """Make a command with the parameters of `run` and the fields of `format_type`, whose docstring is the help.

    The fields are annotated for typer. `run` takes them as keyword arguments.
    """
    own = [
        parameter for parameter in inspect.signature(run).parameters.values() if parameter.kind != parameter.VAR_KEYWORD
    ]
    fields = list(inspect.signature(format_type).parameters.values())
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*fields, *own)]
    hints = get_type_hints(run, include_extras=True) | get_type_hints(format_type, include_extras=True)

    def command(**arguments: object) -> None:
        run(**arguments)

    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    )
    command.__annotations__ = {parameter.name: hints[parameter.name] for parameter in parameters}
    command.__doc__ = (inspect.getdoc(format_type) or "").partition("\n\n")[0]
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name)(command)
    return typer.main.get_command(app)
