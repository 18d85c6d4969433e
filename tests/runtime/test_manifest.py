from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import BundleError
from runtime.manifest import Manifest


@pytest.fixture
def value(bundle_folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((bundle_folder / "manifest.json").read_bytes())
    for artifact in loaded["artifacts"]:  # a few of the many weights are enough
        del artifact["weights"]["stored"][2:]
    return loaded


def test_round_trip(value: dict[str, Any]) -> None:
    manifest = Manifest.from_json(value)
    assert json.loads(json.dumps(manifest.to_json())) == value


def test_every_field_is_required(value: dict[str, Any]) -> None:
    for name in value:
        broken = {k: v for k, v in value.items() if k != name}
        with pytest.raises(
            BundleError, match="schema version" if name == "schema_version" else name
        ):
            Manifest.from_json(broken)


def test_wrong_types_are_refused_everywhere(value: dict[str, Any]) -> None:
    """Put a value of another type at every leaf and expect a typed error, never a crash."""
    count = 0
    for path in _leaves(value):
        for wrong in ([], {}, "text", 7, 1.5, True, None):
            broken = copy.deepcopy(value)
            old = _put(broken, path, wrong)
            if type(old) is type(wrong) or (isinstance(old, float) and wrong == 7):
                continue
            if path[-1] == "bits" and wrong in (7, 1.5):
                continue
            if path[-1] in (
                "thresholds",
                "revision",
                "vocab",
                "lengths",
                "bits",
                "sha256",
            ) and wrong in (
                None,
                "text",
            ):
                continue
            with pytest.raises(BundleError):
                Manifest.from_json(broken)
            count += 1
    assert count > 500


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in _leaves(v, (*path, k))]
    if isinstance(value, list):
        return [leaf for i, v in enumerate(value) for leaf in _leaves(v, (*path, i))]
    # A shape's axis may be a number or a name.
    return [] if "shape" in path else [path]


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    for key in path[:-1]:
        value = value[key]
    old, value[path[-1]] = value[path[-1]], new
    return old


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=2), "schema version 2"),
        (lambda m: m.update(extra=1), "unknown field 'extra'"),
        (lambda m: m["task"].update(activation="sigmoid"), "does not belong"),
        (lambda m: m["task"].update(activation="relu"), "must be one of"),
        (lambda m: m["task"].update(labels=["a", "a"]), "names a label twice"),
        (lambda m: m["task"].update(labels=[]), "empty"),
        (lambda m: m["task"].update(thresholds=[0.5] * 3), "thresholds"),
        (lambda m: m["tokenizer"].update(max_length=1), "no room"),
        (lambda m: m["tokenizer"].update(pad_side="left"), "must be one of"),
        (lambda m: m.update(artifacts=[]), "artifacts is empty"),
        (lambda m: m["artifacts"].append(m["artifacts"][0]), "twice"),
        (lambda m: m["artifacts"][-1].update(lengths=[64, 32]), "ascending"),
        (lambda m: m["artifacts"][-1].update(lengths=[32]), "no length holds"),
    ],
)
def test_contradictions_are_refused(value: dict[str, Any], change: Any, message: str) -> None:
    change(value)
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(value)


def test_not_an_object() -> None:
    with pytest.raises(BundleError, match="not a JSON object"):
        Manifest.from_json([1])
