"""The app's core on the JVM with the real LiteRT library: Python's logits, to the last bit."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from android_demo.toolchain.jvm import JvmProgram
from runtime.bundle import MANIFEST, Bundle, open_bundle
from runtime.errors import UserError
from runtime.files import canonical_json, sha256_of
from runtime.golden import Golden, read_golden
from runtime.parity import gate
from runtime.sessions import open_session
from runtime.sessions.base import SessionSettings
from runtime.tokenizer import batch_of

from support import ROOT

FLOAT, INT8 = "model.tflite", "model_int8.tflite"
ARTIFACTS = (FLOAT, INT8)


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> Golden:
    return read_golden(bundle.file("golden.json"))


@pytest.fixture(scope="module")
def replayed(
    jvm: JvmProgram, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Artifact → the results that the JVM wrote."""
    folder = tmp_path_factory.mktemp("replayed")
    found = {}
    for artifact in ARTIFACTS:
        out = folder / f"{artifact}.json"
        done = jvm.run("replay", bundle_folder, "--artifact", artifact, "--out", out)
        assert done.returncode == 0, done.stderr
        assert "of" in done.stderr  # progress
        found[artifact] = json.loads(out.read_bytes())
    return found


def _results(folder: Path, *documents: dict[str, Any]) -> Path:
    whole = {"schema_version": 1, "artifacts": [a for d in documents for a in d["artifacts"]]}
    path = folder / "results.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_logits_are_pythons_bit_for_bit_on_every_golden_case(
    artifact: str, bundle: Bundle, golden: Golden, replayed: dict[str, dict[str, Any]]
) -> None:
    spec = bundle.manifest.tokenizer
    chosen = bundle.artifact(artifact)
    session = open_session(bundle.file(artifact), chosen, SessionSettings.of(spec, threads=1))
    python = np.stack(
        [
            session.run(*batch_of([case.input_ids], spec.pad_id, spec.pad_side))[0]
            for case in golden.cases
        ]
    )
    cases = replayed[artifact]["artifacts"][0]["cases"]
    assert [case["name"] for case in cases] == [case.name for case in golden.cases]
    jvm_logits = np.array([case["logits"] for case in cases], dtype=np.float32)
    assert jvm_logits.dtype == python.dtype == np.float32
    assert jvm_logits.view(np.int32).tolist() == python.view(np.int32).tolist()
    # Not all the same numbers, or equality would say little; every length was run.
    assert len(np.unique(python)) > len(golden.cases)
    lengths = {min(n for n in chosen.lengths or () if n >= len(c.input_ids)) for c in golden.cases}
    assert lengths == set(chosen.lengths or ())


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_ids_are_the_golden_ones(
    artifact: str, golden: Golden, replayed: dict[str, dict[str, Any]]
) -> None:
    cases = replayed[artifact]["artifacts"][0]["cases"]
    wrong = [
        case["name"]
        for case, wanted in zip(cases, golden.cases, strict=True)
        if tuple(case["input_ids"]) != wanted.input_ids
    ]
    assert wrong == []


def test_the_gate_passes_what_the_jvm_wrote(
    bundle_folder: Path, replayed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    path = _results(tmp_path, *replayed.values())
    schema = json.loads((ROOT / "runtime" / "parity" / "results.schema.json").read_bytes())
    jsonschema.validate(json.loads(path.read_bytes()), schema)
    report = gate(bundle_folder, results=path)
    assert report.verdict == "pass", report
    assert {artifact.path for artifact in report.artifacts} == set(ARTIFACTS)


def _swap_labels(entry: dict[str, Any]) -> None:
    for case in entry["cases"]:
        case["logits"] = case["logits"][::-1]
        del case["labels"]


def _label_that_does_not_follow(entry: dict[str, Any]) -> None:
    case = entry["cases"][0]
    case["labels"] = [next(x for x in ("sunny", "rainy") if [x] != case["labels"])]


def _other_ids(entry: dict[str, Any]) -> None:
    entry["cases"][3]["input_ids"][1] += 1


def _not_a_number(entry: dict[str, Any]) -> None:
    entry["cases"][5]["logits"][0] = "nan"


@pytest.mark.parametrize(
    "fault", [_swap_labels, _label_that_does_not_follow, _other_ids, _not_a_number]
)
def test_the_gate_does_not_pass_planted_faults(
    fault: Callable[[dict[str, Any]], None],
    bundle_folder: Path,
    replayed: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    document = json.loads(json.dumps(replayed[FLOAT]))
    fault(document["artifacts"][0])
    report = gate(bundle_folder, FLOAT, results=_results(tmp_path, document))
    assert report.verdict == "fail", report


def test_results_of_another_artifact_are_refused(
    bundle_folder: Path, replayed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    document = json.loads(json.dumps(replayed[FLOAT]))
    document["artifacts"][0]["sha256"] = "0" * 64
    with pytest.raises(UserError, match=r"tells of another model\.tflite"):
        gate(bundle_folder, results=_results(tmp_path, document))


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def _flip(copy: Path, name: str) -> None:
    path = copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _edit(copy: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads((copy / MANIFEST).read_bytes())
    change(value)
    (copy / MANIFEST).write_text(canonical_json(value), encoding="utf-8")


def _resign(copy: Path, name: str) -> None:
    """The manifest says that the changed file is right."""

    def change(value: dict[str, Any]) -> None:
        for entry in [*value["files"], *value["artifacts"]]:
            if entry["path"] == name:
                entry |= {"bytes": (copy / name).stat().st_size, "sha256": sha256_of(copy / name)}

    _edit(copy, change)


@pytest.mark.parametrize("name", [FLOAT, INT8, "tokenizer.json", "vocab.txt", "golden.json"])
def test_one_flipped_byte_is_refused(jvm: JvmProgram, copy: Path, name: str) -> None:
    _flip(copy, name)
    _is_refused(jvm, copy, rf"{name} was changed: .*SHA-256.*; export")


@pytest.mark.parametrize("name", [FLOAT, "tokenizer.json", MANIFEST])
def test_a_missing_file_is_refused(jvm: JvmProgram, copy: Path, name: str) -> None:
    (copy / name).unlink()
    _is_refused(jvm, copy, rf"{name} is missing; export")


def test_an_unknown_schema_version_is_refused(jvm: JvmProgram, copy: Path) -> None:
    _edit(copy, lambda value: value.update(schema_version=99))
    _is_refused(jvm, copy, "schema version 99")


def test_a_file_that_is_no_model_is_refused(jvm: JvmProgram, copy: Path) -> None:
    (copy / FLOAT).write_bytes(b"no model" * 100)
    _resign(copy, FLOAT)
    _is_refused(jvm, copy, "LiteRtCreateModelFromFile failed", "--artifact", FLOAT)


def test_another_number_of_labels_is_refused(jvm: JvmProgram, copy: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        next(a for a in value["artifacts"] if a["path"] == FLOAT)["outputs"][0]["shape"] = [1, 7]

    _edit(copy, change)
    _is_refused(jvm, copy, r"logits is float32 \[1, 3\], the manifest says", "--artifact", FLOAT)


def test_lengths_that_the_file_does_not_have_are_refused(jvm: JvmProgram, copy: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        for artifact in value["artifacts"]:
            if artifact["path"] == FLOAT:
                artifact["lengths"] = [length + 1 for length in artifact["lengths"]]

    _edit(copy, change)
    _is_refused(jvm, copy, r"has the signatures .*seq_", "--artifact", FLOAT)


def test_another_dtype_is_refused(jvm: JvmProgram, copy: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        for artifact in value["artifacts"]:
            if artifact["path"] == FLOAT:
                artifact["inputs"][0]["dtype"] = "int64"

    _edit(copy, change)
    _is_refused(jvm, copy, "int64", "--artifact", FLOAT)


def _is_refused(jvm: JvmProgram, bundle: Path, sentence: str, *options: str) -> None:
    done = jvm.run("classify", bundle, "hello", *options)
    assert (done.returncode, done.stdout) == (2, ""), done
    own = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(own) == 1 and "Exception" not in done.stderr
    with pytest.raises(UserError, match=sentence):
        raise UserError(own[0].removeprefix("error: "))


def test_mistakes_on_the_command_line_are_one_sentence(
    jvm: JvmProgram, bundle_folder: Path, tmp_path: Path
) -> None:
    mistakes: dict[tuple[str | Path, ...], str] = {
        ("classify",): "name the bundle's folder",
        ("classify", bundle_folder, "x", "--artifact"): "--artifact needs a value",
        ("classify", bundle_folder, "x", "--artifact", "other"): 'TFLite artifact "other"',
        ("classify", bundle_folder, "x", "--loud"): "no option --loud",
        ("replay", bundle_folder): "name the file to write",
        ("ids", tmp_path / "nowhere"): "there is no bundle",
    }
    for arguments, sentence in mistakes.items():
        done = jvm.run(*arguments)
        assert done.returncode == 2 and sentence in done.stderr, done
        assert "Exception" not in done.stderr
    done = jvm.run("ids", bundle_folder, said='"a text"\nno JSON\n')
    assert done.returncode == 2 and "line 2 of standard input is not a JSON string" in done.stderr


def test_results_are_not_half_written(jvm: JvmProgram, bundle_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "no such folder" / "results.json"
    done = jvm.run("replay", bundle_folder, "--artifact", FLOAT, "--out", out)
    assert done.returncode == 2 and "Exception" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_people_see_label_and_bars(jvm: JvmProgram, bundle_folder: Path) -> None:
    done = jvm.run("classify", bundle_folder, "the sky is cloudless today", "--artifact", "int8")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done
    assert lines[0] == "sunny" and lines[-1] == INT8
    assert lines[1].startswith("  sunny  0.9") and "█" in lines[1]


def test_without_litert_the_program_says_how_to_start_it(
    jvm: JvmProgram, bundle_folder: Path
) -> None:
    command = [a for a in jvm.command("classify", bundle_folder, "x") if "litert=" not in a]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "python -m android_demo.toolchain jvm" in done.stderr
    opened = open_bundle(bundle_folder)
    wrong = JvmProgram(jvm.tools, jvm.classpath, opened.file("vocab.txt"))
    done = wrong.run("classify", bundle_folder, "x")
    assert done.returncode == 2 and "LiteRT's library cannot be loaded" in done.stderr
