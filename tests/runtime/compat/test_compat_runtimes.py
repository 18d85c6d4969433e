"""The list of old runtimes, and the Pythons that run them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runtime.compat.pythons import find_python
from runtime.compat.runtimes import chosen, read_runtimes, version_key
from runtime.errors import UserError

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_list_covers_both_formats_and_pins_everything() -> None:
    listed = read_runtimes()
    assert {spec.format for spec in listed.runtimes.values()} == {"onnx", "tflite"}
    for one in chosen(listed, ["onnx", "tflite"], ",".join(listed.runtimes)):
        assert f"{one.package}=={one.version}" in one.requirements
        assert all("==" in need for need in one.requirements)
        assert one.pythons


def test_releases_come_in_their_own_order_and_large_ones_only_by_name() -> None:
    listed = read_runtimes()
    found = chosen(listed, ["onnx"], None)
    versions = [one.version for one in found]
    assert versions == sorted(versions, key=version_key)
    assert {one.package for one in found} == {"onnxruntime"}
    assert all(one.package != "tensorflow-cpu" for one in chosen(listed, ["tflite"], None))
    named = chosen(listed, ["tflite"], "tensorflow-cpu, tflite-runtime==2.14.0")
    assert {one.package for one in named} == {"tensorflow-cpu", "tflite-runtime"}
    assert [one.version for one in named if one.package == "tflite-runtime"] == ["2.14.0"]


def test_a_release_is_its_numbers() -> None:
    assert version_key("1.17.0") > version_key("1.9.3")
    with pytest.raises(UserError, match=r"'1\.17\.0rc1' is not a release's number"):
        version_key("1.17.0rc1")


@pytest.mark.parametrize(
    ("formats", "only", "words"),
    [
        (["onnx"], "onxruntime", "no runtime is called 'onxruntime'"),
        (["onnx"], "onnxruntime==1.0", "no runtime is called 'onnxruntime==1.0'"),
        (["onnx"], "ai-edge-litert", "runs onnx and is called ai-edge-litert"),
        (["coreml"], None, "no runtime of the list runs coreml"),
    ],
)
def test_a_wrong_choice_is_one_sentence(formats: list[str], only: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        chosen(read_runtimes(), formats, only)
    assert "\n" not in str(caught.value)


TABLE = '[runtimes.r]\nformat = "onnx"\nclaim = "r"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema_version = 9", "schema version 9"),
        ("schema_version = ", "not TOML"),
        ("schema_version = 1", "lacks the field 'runtimes'"),
        (
            f'schema_version = 1\n{TABLE}requirements = ["numpy"]\nversions = {{}}',
            "no exact version",
        ),
        (
            f'schema_version = 1\n{TABLE}requirements = []\nversions = {{ "1.0" = [] }}',
            "names no Python",
        ),
        (
            f'schema_version = 1\n{TABLE}requirements = []\nversions = {{ "new" = ["3.11"] }}',
            "not a release's number",
        ),
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "runtimes.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_runtimes(path)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml cannot be read"):
        read_runtimes(tmp_path / "none.toml")


def test_this_python_is_found_and_runs() -> None:
    release, python = find_python([OWN])
    assert release == OWN
    assert python.exists()
    # One that is not there is passed over.
    assert find_python(["3.0", OWN])[0] == OWN


def test_a_python_that_only_pretends_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shim that leads to nothing, as pyenv leaves them, and one that is another release."""
    for name, line in (("python3.1", "exit 127"), ("python3.2", f'exec "{sys.executable}" "$@"')):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    with pytest.raises(UserError, match=r"no Python 3\.1 or 3\.2 is found"):
        find_python(["3.1", "3.2"])


def test_pyenvs_releases_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "versions" / f"{OWN}.99" / "bin"
    place.mkdir(parents=True)
    script = place / f"python{OWN}"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert find_python([OWN])[0] == OWN
