"""`attribeam gc`: what was left over."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.commands.options import RunDirectory


def gc(
    out: RunDirectory,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; else they are only listed.")] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="Parts set aside as damaged, too.")] = False,
) -> None:
    """List what killed processes left beside a run, and on this machine's temporary directory; --yes removes it.

    Files of the run itself are never touched. Example: attribeam gc out/digits --yes
    """
    from pipeline.leftovers import find_leftovers, remove
    from transforms.storage.place import open_place

    place = open_place(out)
    found = list(find_leftovers(place, damaged))
    for leftover in found:
        typer.echo(f"{leftover.name}: {leftover.size:,} bytes, {leftover.why}")
    removed = [leftover for leftover in found if yes and remove(place, leftover)]
    size = sum(leftover.size for leftover in found)
    action = f"{len(removed)} removed" if yes else "--yes removes them"
    typer.echo(f"{len(found)} leftovers, {size:,} bytes; {action}" if found else f"{out}: nothing is left over")
