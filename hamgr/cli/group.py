"""The click group behind `hamgr`: verbs by name from a table, and every error as a sentence with an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from hamgr import __version__
from hamgr.api.exits import Exit
from hamgr.api.requests import VERBS as ORDERS
from hamgr.cli.connection import ENV_CONFIG, resolve
from hamgr.cli.exits import CommandError
from hamgr.cli.verbs import SIMULATE_SUMMARY, VERBS

_NO_SANDBOX = (
    "the sandbox is not installed here (there is no Python package {missing}): it is part of hamgr's source tree; run "
    "`make setup` in a checkout, then `.venv/bin/hamgr sandbox`"
)


class LazyGroup(click.Group):
    """Commands that are imported when they are asked for; the overview needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, *ORDERS, "simulate"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in ORDERS:
            from hamgr.cli.orders import command  # what it needs is slow to import

            return command(cmd_name)
        if cmd_name not in VERBS:
            return None
        module, attribute, _ = VERBS[cmd_name]
        try:
            found = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if cmd_name != "sandbox":
                raise
            raise CommandError(_NO_SANDBOX.format(missing=error.name), Exit.UNAVAILABLE) from None
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary) for name, (_, _, summary) in VERBS.items()]
        rows += [(name, verb.summary) for name, (_, verb) in ORDERS.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted([*rows, ("simulate", SIMULATE_SUMMARY)]))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in (*VERBS, *ORDERS):
            from hamgr.clusterfile.options import instead

            ctx.fail(f"there is no command '{args[0]}'{instead(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, readable=False),  # whoever reads it tells what is wrong, and with which code
    help=f"hamgrd's settings file, for how to reach etcd  [default: ${ENV_CONFIG} or /etc/hamgr/hamgrd.yaml]",
)
@click.version_option(__version__, prog_name="hamgr")
@click.pass_context
def hamgr(ctx: click.Context, config: Path | None) -> None:
    """Keep single-instance applications running on Kubernetes, one writer at a time.

    Exit codes: 0 done, 1 failed, 64 wrong usage, 66 file missing, 68 no such node, 69 etcd unreachable,
    77 not permitted, 78 wrong configuration, 105 no such object, 124 no answer in time.
    """
    ctx.obj = resolve(config)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; every failure ends as one sentence on stderr."""
    try:
        result = hamgr.main(list(arguments), prog_name="hamgr", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        return _complain("interrupted", Exit.INTERRUPTED)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return Exit.USAGE
    except click.ClickException as error:
        return _complain(error.format_message(), Exit.USAGE, _usage(error))
    except CommandError as error:
        return _complain(str(error), error.code)
    except BrokenPipeError:  # `hamgr events | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:  # noqa: BLE001 - no traceback reaches a person
        return _store_complaint(error)
    return int(result or Exit.OK)


def _store_complaint(error: Exception) -> int:
    """The store's errors are sentences with an exit code already; anything else is a bug, said in one line."""
    from hamgr.store.errors import StoreError

    if isinstance(error, StoreError):
        return _complain(str(error), error.exit_code)
    if os.environ.get("HAMGR_TRACEBACK"):
        raise error
    kind = type(error).__name__
    return _complain(f"this should not have happened ({kind}: {error}); HAMGR_TRACEBACK=1 shows where", Exit.ERROR)


def _usage(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f"{ctx.get_usage()}\n" if ctx is not None else ""


def _complain(message: str, code: int, before: str = "") -> int:
    click.echo(f"{before}hamgr: {message}", err=True)
    return code
