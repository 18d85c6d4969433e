"""What a search found out, so that the next one, or one that was broken off, need not again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from export.fingerprints import versions
from export.recipes import Recipe
from export.search.ladder import Weight
from runtime.console import note
from runtime.files import canonical_json, json_number, write_atomically

_FILE, _SCHEMA = "search.json", 1
_PACKAGES = Path(__file__).resolve().parents[1], Path(__file__).resolve().parents[2] / "runtime"


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate.

    Attributes:
        label: for tables.
        size: bytes of its artifact; 0 where none could be made.
        verdict: the gate's; empty where it was not asked, the file being too large.
        figures: of the gate; empty likewise.
        failed: figures that missed their limits.
        doubts: why a pass would mean nothing.
        problem: why none could be made; empty where one was.
    """

    label: str
    size: int
    verdict: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    problem: str = ""

    def figure(self, name: str) -> float:
        """NaN where there is none."""
        return self.figures.get(name, math.nan)


class State:
    """A folder of one model, its texts and one machine.

    Attributes:
        noise: `export.search.sensitivity.key_of` → noise.
        trials: `recipe_key` → what came of it.
        weights: those that can have rules of their own; empty as long as that is not known.
    """

    def __init__(self, root: Path, name: str, facts: Mapping[str, Any]) -> None:
        """Find or begin the state.

        Args:
            root: folder of all searches.
            name: of the model, for people.
            facts: everything that the figures depend on but the recipes, JSON-safe.
        """
        self.noise: dict[str, float] = {}
        self.trials: dict[str, Trial] = {}
        self.weights: tuple[Weight, ...] = ()
        self._facts = dict(facts)
        digest = hashlib.sha256(canonical_json(self._facts).encode()).hexdigest()
        plain = "".join(c if c.isalnum() else "-" for c in name).strip("-")
        self.folder = root / f"{plain}-{digest[:12]}"
        if (self.folder / _FILE).is_file():
            self._read()

    def add_noise(self, key: str, noise: float) -> None:
        """Keep one weight's noise."""
        self.noise[key] = noise
        self._write()

    def add_trial(self, key: str, trial: Trial) -> None:
        """Keep what came of one candidate."""
        self.trials[key] = trial
        self._write()

    def set_weights(self, weights: tuple[Weight, ...]) -> None:
        """Keep which weights can have rules of their own."""
        self.weights = weights
        self._write()

    def _read(self) -> None:
        try:
            values = json.loads((self.folder / _FILE).read_bytes())
            if values["schema_version"] != _SCHEMA:
                raise ValueError(f"schema version {values['schema_version']}")
            noise = {key: float(value) for key, value in values["noise"].items()}
            trials = {key: _trial(value) for key, value in values["trials"].items()}
            weights = tuple(Weight(**value) for value in values["weights"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            note(f"  {self.folder / _FILE} cannot be read ({error!r}); the search begins anew")
            return
        self.noise, self.trials, self.weights = noise, trials, weights

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        value = {
            "schema_version": _SCHEMA,
            "facts": self._facts,
            "noise": {key: json_number(noise) for key, noise in self.noise.items()},
            "trials": {key: _json(trial) for key, trial in self.trials.items()},
            "weights": [asdict(weight) for weight in self.weights],
        }
        write_atomically(self.folder / _FILE, canonical_json(value))


def recipe_key(recipe: Recipe) -> str:
    """SHA-256 of everything that a recipe says; its name and words play no part."""
    value = asdict(recipe) | {"name": "", "summary": "", "default": True, "version": 0}
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def versions_of(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of what touches an artifact, and a hash of this program itself.

    Args:
        packages: of the target.
    """
    return {"packages": versions(packages), "program": _program_sha256()}


def _program_sha256() -> str:
    """Of the sources that make and judge artifacts: what they find out is not another's."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package.parent).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _json(trial: Trial) -> dict[str, Any]:
    figures = {name: json_number(value) for name, value in trial.figures.items()}
    return asdict(trial) | {"figures": figures}


def _trial(value: dict[str, Any]) -> Trial:
    figures = {name: float(number) for name, number in value["figures"].items()}
    lists = {name: tuple(value[name]) for name in ("failed", "doubts")}
    return Trial(**value | {"figures": figures} | lists)
