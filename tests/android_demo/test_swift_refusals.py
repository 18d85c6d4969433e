"""The iOS package's bundle reader, compiled: what Python refuses, it refuses, in one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from android_demo.toolchain.swift import SwiftProgram
from export.families import families
from export.tokenizer_training import train_tokenizer
from runtime.bundle import MANIFEST, Bundle, open_bundle
from runtime.errors import BundleError, UserError
from runtime.files import sha256_of_listing

from jvm_support import tokenizer_bundle
from support import weather_rows
from swift_support import changed, copied, program_or_skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swift() -> SwiftProgram:
    return program_or_skip()


def _package(copy: Path) -> Path:
    return next(iter(sorted(copy.glob("*.mlpackage"))))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _relink(copy: Path) -> None:
    (copy / "labels.txt").rename(copy / "other.txt")
    (copy / "labels.txt").symlink_to("other.txt")


def _swap_hash(value: dict[str, Any]) -> None:
    artifact = next(a for a in value["artifacts"] if a["format"] == "coreml")
    entries = [
        (f["path"].removeprefix(artifact["path"]), f["bytes"], f["sha256"])
        for f in artifact["files"]
    ]
    artifact["sha256"] = sha256_of_listing(entries)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda c: _flip(c / "tokenizer.json"), "tokenizer.json was changed"),
    "a missing file": (lambda c: (c / "vocab.txt").unlink(), "vocab.txt is missing"),
    "a longer file": (lambda c: (c / "labels.txt").write_text("x" * 999), "has 999 bytes"),
    "a changed file in a package": (
        lambda c: _flip(_package(c) / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"),
        "weight.bin was changed",
    ),
    "a further file in a package": (
        lambda c: (_package(c) / "Data" / "more").write_text("x"),
        "Data/more is not in the manifest",
    ),
    "no package": (lambda c: shutil.rmtree(_package(c)), "is not a folder"),
    "another hash of a package": (lambda c: changed(c, _swap_hash), "contradicts itself"),
    "a link": (_relink, "labels.txt is a symbolic link"),
    "no manifest": (lambda c: (c / MANIFEST).unlink(), "is not a bundle"),
    "half a manifest": (
        lambda c: (c / MANIFEST).write_bytes((c / MANIFEST).read_bytes()[:500]),
        "manifest.json is not JSON",
    ),
    "schema 99": (
        lambda c: changed(c, lambda v: v.update(schema_version=99)),
        "schema version 99",
    ),
    "schema 0": (lambda c: changed(c, lambda v: v.update(schema_version=0)), "schema version 0"),
    "an unknown field": (
        lambda c: changed(c, lambda v: v["tokenizer"].update(emoji=True)),
        "manifest.tokenizer has the unknown field 'emoji'",
    ),
    "a missing field": (
        lambda c: changed(c, lambda v: v["task"].pop("labels")),
        "manifest.task lacks the field 'labels'",
    ),
    "a wrong type": (
        lambda c: changed(c, lambda v: v["tokenizer"].update(max_length="64")),
        "manifest.tokenizer.max_length has the wrong type",
    ),
    "a path out of the bundle": (
        lambda c: changed(c, lambda v: v["files"][0].update(path="../x")),
        "it leaves the folder",
    ),
    "a label twice": (
        lambda c: changed(c, lambda v: v["task"]["labels"].__setitem__(0, v["task"]["labels"][1])),
        "names a label twice",
    ),
    "thresholds for one label": (
        lambda c: changed(c, lambda v: v["task"].update(thresholds=[0.5])),
        "thresholds belong to a multi-label task",
    ),
    "too short lengths": (
        lambda c: changed(c, lambda v: [a.update(lengths=[8]) for a in v["artifacts"]]),
        "no length holds",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_bundle_is_refused_in_one_sentence(
    swift: SwiftProgram, bundle: Bundle, tmp_path: Path, name: str
) -> None:
    damage, sentence = DAMAGES[name]
    copy = copied(bundle, tmp_path)
    assert swift.run("verify", copy).status == 0
    damage(copy)
    done = swift.run("verify", copy)
    assert (done.status, done.output) == (2, "")
    assert sentence in done.errors
    assert done.errors.startswith("error: ") and len(done.errors.splitlines()) == 1
    with pytest.raises(BundleError):
        open_bundle(copy)


def test_schema_1_is_read(swift: SwiftProgram, bundle: Bundle, tmp_path: Path) -> None:
    copy = copied(bundle, tmp_path)
    new = {"pad_token", "mask_token", "cls_position", "token_types"}

    def downgrade(value: dict[str, Any]) -> None:
        value["schema_version"] = 1
        value["tokenizer"] = {k: v for k, v in value["tokenizer"].items() if k not in new}
        del value["task"]["pooling"], value["source"]["family"]

    changed(copy, downgrade)
    assert open_bundle(copy).manifest.schema_version == 1
    texts = [text for text, _ in weather_rows()]
    assert swift.encode(copy, texts) == swift.encode(bundle.path, texts)
    changed(copy, lambda value: value["task"].update(pooling=None))
    with pytest.raises(UserError, match="unknown field 'pooling'"):
        swift.encode(copy, texts)


def test_another_tokenizer_is_refused_by_its_name(swift: SwiftProgram, tmp_path: Path) -> None:
    texts = [text for text, _ in weather_rows()]
    tokenizer = train_tokenizer(families()["roberta"], texts, 400)
    tokenizer_bundle(tmp_path / "b", tokenizer, families()["roberta"], 64)
    with pytest.raises(UserError, match="needs a BPE tokenizer"):
        swift.encode(tmp_path / "b", ["a"], "tflite")
