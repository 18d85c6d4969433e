"""Float conversions, once a run and once for all runs: what every recipe of a format starts from.

A conversion is asked for by all that its bytes depend on: the reference's weights, configuration
and pooling, the lengths, the options, the versions of the packages that convert, and our own source
files. A changed converter or a changed weight therefore never meets an old file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from export.content_cache import key_of
from export.fingerprints import reference_sha256, sources_sha256, versions
from export.table_swap import swap_tables, swaps_between
from runtime.files import canonical_json

if TYPE_CHECKING:
    from export.reference import Reference
    from export.targets.base import Job

# What every target's conversion reads besides its own folder.
_SHARED = (
    "families",
    "reference.py",
    "embedding_reference.py",
    "pooling.py",
    "float_cache.py",
    "targets/base.py",
    "targets/parameters.py",
)


def float_conversion(
    job: Job,
    convert: Callable[[Reference, Path], None],
    *,
    suffix: str,
    further: Mapping[str, str] | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """The reference in a target's format, before any recipe.

    Args:
        job: its scratch keeps the conversion for the run's other recipes, its source's cache for
            later runs.
        convert: makes a file or folder of a reference; it appears there whole or not at all.
        suffix: of its name; conversions of two kinds have two suffixes, and nothing else tells
            the cache which is which.
        further: what else the conversion depends on, besides `Job.options`.
        check: refuses a conversion; run once a run, on one from the cache as well.

    Returns:
        The conversion, in the scratch folder: to be read, not to be changed.

    Raises:
        UserError: as `convert` and `check`.
    """
    request = conversion_request(job, {**(further or {}), "suffix": suffix})
    path = job.scratch / f"float_{key_of(request)[:16]}{suffix}"
    if path.exists():
        return path
    if job.unrounded is not None:
        swaps = swaps_between(job.unrounded, job.source.reference)
        if swaps:  # without any it is the same conversion
            source = replace(job.source, reference=job.unrounded)
            before = replace(job, source=source, unrounded=None)
            floats = float_conversion(before, convert, suffix=suffix, further=further, check=check)
            if swap_tables(floats, swaps, path):
                return path
    job.source.cache.take_or_make(request, path, partial(convert, job.source.reference))
    try:
        if check is not None:
            check(path)
    except BaseException:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
    return path


def conversion_request(job: Job, further: Mapping[str, str]) -> dict[str, str]:
    """All that a float conversion depends on; arguments as for `float_conversion`."""
    from export.targets import targets

    name = job.recipe.target
    return {
        "what": f"{name} conversion in float",
        "reference": reference_sha256(job.source.reference),
        "lengths": ",".join(map(str, job.source.lengths)),
        "options": canonical_json(dict(job.options), indent=None).strip(),
        "further": canonical_json(dict(further), indent=None).strip(),
        "versions": versions(targets()[name].PACKAGES),
        "sources": sources_sha256(f"targets/{name}", *_SHARED),
    }
