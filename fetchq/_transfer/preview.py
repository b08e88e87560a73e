"""What a run would do about a job: one request whose body is not read."""

from __future__ import annotations

from pathlib import Path

from .. import _naming
from .._errors import AuthenticationError, FetchError, StatusError
from .._models import Job, Preview
from .._ranges import Ask
from .._retry import SAFE
from .checks import check_length, identity, place, resumable_method, same_file
from .context import ALONE, Placement, RunContext
from .links import EXPIRED
from .mirrors import judge

__all__ = ["preview"]


async def preview(job: Job, context: RunContext, placement: Placement = ALONE) -> Preview:
    """Ask the server about *job* and look at the disk; nothing is changed, here or on the server."""
    name = job.out or _naming.guess(job.url)
    try:
        context.fetcher.check(job)
        if job.method.upper() not in SAFE:
            return Preview(job, _naming.printable(name), "fresh", asked=False)
        return await _look(job, context, placement)
    except FetchError as error:
        return Preview(job, name, "failed", error=error)


async def _look(job: Job, context: RunContext, placement: Placement) -> Preview:
    try:
        return await _ask(job, job, context, placement)
    except (StatusError, AuthenticationError) as error:
        if context.refresh is None or error.status not in EXPIRED:
            raise
        try:
            link = await context.refresh(job, error)
        except FetchError:
            raise error from None
        return await _ask(job, link, context, placement)


async def _ask(job: Job, link: Job, context: RunContext, placement: Placement) -> Preview:
    given = () if link is job else link.headers
    reply = await context.fetcher.open(job, url=link.url, given=given)
    try:
        _, seen = judge(Ask(), None, reply, context, job)
        name = _naming.name_from(reply.headers, reply.url, dotfiles=context.settings.disk.dotfiles)
    finally:
        await reply.aclose()
    if not seen.encoding:
        check_length(job, seen, context.settings.disk.max_size)
    if context.checksums.find(job, name) is None:
        context.checksums.unknown(name if job.out in {None, "-"} else str(job.out))
    resumable = seen.ranges and resumable_method(job) and not seen.encoding
    if job.out == "-":
        return Preview(job, job.out, "fresh", seen.length, 0, resumable)
    base = context.settings.disk.dir
    folder, name = place(job, base, name, placement)
    if job.out is None and name == (placement.name or _naming.guess(job.url)):
        name = _naming.candidate(name, placement.ordinal)
    shown = _shown(folder / name, base)
    found = await context.parts.stat(folder, name)
    if found is not None and same_file(found, seen):
        return Preview(job, shown, "done", seen.length, seen.length or 0, resumable)
    have = await context.parts.trusted(folder, name, identity(job))
    return Preview(job, shown, "resume" if have and resumable else "fresh", seen.length, have, resumable)


def _shown(path: Path, base: Path) -> str:
    return _naming.printable(str(path.relative_to(base) if path.is_relative_to(base) else path))
