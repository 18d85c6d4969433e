"""Checks the CI workflow against the repository: it cannot be run here, but it can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import UserError

_TARGET = re.compile(r"\bmake (?:--?[\w-]+ )*([a-z][\w-]*)")
_SCRIPT = re.compile(r"(?<!\S)(?:\./)?((?:[\w.-]+/)+[\w.-]+\.(?:py|sh))\b")
_MODULE = re.compile(r"\bpython3? -m ([\w.]+)")
# A release's full version, or a commit.
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})")
_OPTION = re.compile(r"\b([A-Z]+)=")


def workflow_problems(workflow: Path, checkout: Path) -> list[str]:
    """What a workflow calls and is not there.

    Every action has a full version; every ``make`` target, script, Python module and working folder
    exists; so do the variables that it gives to ``make``.

    Args:
        workflow: a YAML file.
        checkout: the repository's folder.

    Returns:
        One sentence each; empty if all is well.

    Raises:
        UserError: it is not YAML, or has no jobs.
    """
    jobs = _read(workflow)
    makefile = (checkout / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    known = [name for name, job in jobs.items()]
    found: list[str] = []
    for name, job in jobs.items():
        needs = job.get("needs", [])
        for other in [needs] if isinstance(needs, str) else needs:
            if other not in known:
                found.append(f"{name} needs the job {other}, which is not there")
        for step in job.get("steps", []):
            label = f"{name}: {step.get('name') or step.get('uses') or 'a step'}"
            found += [f"{label}: {what}" for what in _step(step, checkout, targets, makefile)]
    return [f"{workflow.name}: {what}" for what in found]


def _step(step: dict[str, Any], checkout: Path, targets: set[str], makefile: str) -> Iterator[str]:
    uses = step.get("uses")
    if uses is not None and not _PINNED.fullmatch(uses):
        yield f"{uses} is not pinned to a full version"
    folder = step.get("working-directory")
    if folder is not None and not (checkout / folder).is_dir():
        yield f"there is no folder {folder}"
    with_ = step.get("with") or {}
    folder = with_.get("working-directory", folder)
    lines = _commands(step.get("run")) + _commands(with_.get("script"))
    for line in lines:
        for target in _TARGET.findall(line):
            if target not in targets:
                yield f"the Makefile has no target {target}"
            for variable in _OPTION.findall(line):
                if not re.search(rf"\b{variable}\b", makefile):
                    yield f"the Makefile knows no {variable}="
        for script in _SCRIPT.findall(line):
            if not (checkout / script).is_file():
                yield f"there is no script {script}"
        for module in _MODULE.findall(line):
            if not _module_exists(module, checkout):
                yield f"there is no Python module {module}"
        if "./gradlew" in line and not (checkout / (folder or "") / "gradlew").is_file():
            yield f"there is no gradlew in {folder or 'the repository root'}"


def _commands(text: object) -> list[str]:
    """Shell lines; one that ends in a backslash is joined with the next."""
    joined = re.sub(r"\\\n\s*", " ", str(text or ""))
    return [line for line in joined.splitlines() if not line.lstrip().startswith("#")]


def _module_exists(module: str, checkout: Path) -> bool:
    place = checkout.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()


def _read(workflow: Path) -> dict[str, Any]:
    # Only developers check workflows, so only they need the package.
    import yaml

    try:
        value = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{workflow} cannot be read", why=str(error.strerror)) from error
    except yaml.YAMLError as error:
        raise UserError(f"{workflow} is not YAML", why=" ".join(str(error).split())) from error
    jobs = value.get("jobs") if isinstance(value, dict) else None
    if not isinstance(jobs, dict) or not jobs:
        raise UserError(f"{workflow} has no jobs")
    return jobs
