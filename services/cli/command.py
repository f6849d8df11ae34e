"""Registers the commands: each has an example in its help, and the options that all have.

A parameter of a command whose type is a dataclass is a bundle of options: typer gets an option for each
of its fields, and the command gets the dataclass.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, get_type_hints

import typer
from pydantic import ValidationError
from typer.core import TyperCommand

from services.cli.output import Output
from services.cli.session import Session
from services.client.errors import invalid_fields

P = ParamSpec("P")

#: Help is drawn with boxes and colours for people alone.
_MARKUP: Literal["rich"] | None = "rich" if sys.stdout.isatty() else None

root = typer.Typer(
    name="cct",
    help="Sends events to people on Telegram, asks them, and shows what became of it.",
    no_args_is_help=True,
    rich_markup_mode=_MARKUP,
    pretty_exceptions_enable=False,
)


def group(name: str, text: str) -> typer.Typer:
    """A new group of commands, such as ``keys``."""
    made = typer.Typer(name=name, help=text, no_args_is_help=True, rich_markup_mode=_MARKUP)
    made.callback()(_nothing)
    root.add_typer(made)
    return made


def _nothing() -> None:
    """A group stays a group, even with a single command."""


#: The example of each command, by its name such as ``keys create``.
EXAMPLES: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Common:
    """The options of every command."""

    url: Annotated[str | None, typer.Option("--url", help="URL of the bridge.")] = None
    key: Annotated[str | None, typer.Option("--key", help="API key.")] = field(default=None, repr=False)
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no remarks and no progress.")] = False


class _Command(TyperCommand):
    """A command that refuses a value in our words, where typer shows a validator's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = "; ".join(one.msg for one in invalid_fields(error.__cause__))
            raise


def command(
    app: typer.Typer, name: str, example: str, **settings: Any
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Registers a command. Its function gets a session in place of the common options.

    Args:
        app: the group that it belongs to.
        name: in the group.
        example: a whole command line, shown in its help.
        settings: of click's context.
    """

    def register(
        function: Callable[Concatenate[Session, P], None],
    ) -> Callable[Concatenate[Session, P], None]:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        def run(ctx: typer.Context, **words: Any) -> None:
            session = _session(ctx, _gathered(Common, words))
            for parameter in parameters:
                if is_dataclass(parameter.annotation):
                    words[parameter.name] = _gathered(parameter.annotation, words)
            with session.reporting():
                _untyped(function)(session, **words)

        EXAMPLES[name if app is root else f"{app.info.name} {name}"] = example
        _describe(run, function, parameters)
        app.command(name, cls=_Command, epilog=f"Example: {example}", context_settings=settings)(run)
        return function

    return register


def _untyped(function: Callable[..., None]) -> Callable[..., None]:
    """Typer gives a command what its signature names, which a type checker does not see."""
    return function


def _describe(
    run: Callable[..., None], function: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> None:
    """Gives the wrapper the signature and the help that typer reads; a bundle becomes its options."""
    shown = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for parameter in parameters:
        if is_dataclass(parameter.annotation):
            shown += _options(parameter.annotation)
        else:
            shown.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    shown += _options(Common)
    vars(run)["__signature__"] = inspect.Signature(shown)
    run.__annotations__ = {each.name: each.annotation for each in shown}
    run.__doc__ = function.__doc__
    run.__name__ = function.__name__


def _options(bundle: Any) -> list[inspect.Parameter]:
    """The fields of a bundle as options."""
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name], default=each.default
        )
        for each in fields(bundle)
    ]


def _gathered(bundle: Any, words: dict[str, Any]) -> Any:
    """Takes the values of a bundle's options out of those of the command."""
    return bundle(**{each.name: words.pop(each.name) for each in fields(bundle)})


@root.callback()
def _common(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option("--url", help="URL of the bridge.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="API key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no remarks and no progress.")] = False,
) -> None:
    """Sends events to people on Telegram, asks them, and shows what became of it."""
    ctx.obj = Common(url, key, as_json, quiet)


def _session(ctx: typer.Context, own: Common) -> Session:
    """The session of a command: its own options, else those that stand before the command's name."""
    outer = ctx.find_object(Common) or Common()
    output = Output(own.as_json or outer.as_json, own.quiet or outer.quiet)
    options = frozenset(name for parameter in ctx.command.params for name in parameter.opts)
    return Session(own.url or outer.url, own.key or outer.key, output, options)
