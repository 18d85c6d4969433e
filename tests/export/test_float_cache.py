"""Conversions of earlier runs give the same files, and only where nothing changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from coreml_support import coreml_job, lively_classifier

from export import fingerprints
from export.content_cache import ContentCache
from export.embedding_reference import reference_of_vectors
from export.fingerprints import reference_sha256, sources_sha256
from export.float_cache import conversion_request
from export.pipeline import export_bundle
from export.pooling import EmbeddingSettings
from export.recipes import recipes
from export.reference import reference_from_model
from export.targets import onnx, tflite
from export.targets.base import Job
from export.targets.coreml import _convert as coreml_convert
from export.targets.coreml import make as make_coreml
from export.targets.onnx import _convert as onnx_convert
from runtime.files import sha256_of

from support import contents, export_settings


def never(*_: object, **__: object) -> Any:
    raise AssertionError("a conversion was made again")


def with_cache(job: Job, folder: Path, scratch: Path, **changes: Any) -> Job:
    scratch.mkdir()
    source = dataclasses.replace(job.source, cache=ContentCache(folder), **changes)
    return dataclasses.replace(job, source=source, scratch=scratch)


@pytest.mark.parametrize("outputs", ["logits", "classifier"])
def test_core_ml_takes_the_conversion_and_writes_its_own_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: str
) -> None:
    job = coreml_job(outputs=outputs)
    int8 = recipes("coreml")["int8"]
    first = with_cache(job, tmp_path / "cache", tmp_path / "first")
    make_coreml(first, tmp_path / "one")
    monkeypatch.setattr(coreml_convert, "_convert", never)
    # The run's other recipes and the next run's.
    make_coreml(dataclasses.replace(first, recipe=int8), tmp_path / "one_int8")
    second = with_cache(job, tmp_path / "cache", tmp_path / "second")
    make_coreml(second, tmp_path / "two")
    make_coreml(dataclasses.replace(second, recipe=int8), tmp_path / "two_int8")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one_int8") == contents(tmp_path / "two_int8")
    assert contents(tmp_path / "one") != contents(tmp_path / "one_int8")
    renamed = dataclasses.replace(job.source.metadata, name="another name")
    other = with_cache(job, tmp_path / "cache", tmp_path / "third", metadata=renamed)
    make_coreml(other, tmp_path / "three")
    model = "Data/com.apple.CoreML/model.mlmodel"
    assert b"another name" in contents(tmp_path / "three")[model]
    assert b"another name" not in contents(tmp_path / "two")[model]


def test_a_second_export_gives_the_same_bundle_without_converting(
    tmp_path: Path, checkpoint_folder: Path, weather_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = export_settings(
        checkpoint_folder, weather_file, tmp_path / "first" / "weather",
        cache=ContentCache(tmp_path / "cache"),
    )  # fmt: skip
    assert export_bundle(settings).bundle is not None
    monkeypatch.setattr(onnx_convert, "onnx_from_reference", never)
    monkeypatch.setattr("export.reference_cache.reference_logits", never)
    monkeypatch.setattr("export.reference_cache.boundary_texts", never)
    again = dataclasses.replace(settings, out=tmp_path / "second" / "weather")
    assert export_bundle(again).bundle is not None
    assert contents(settings.out) == contents(again.out)


def test_without_a_cache_everything_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = dataclasses.replace(coreml_job(), recipe=recipes("onnx")["float32"], options={})
    onnx.make(with_cache(job, tmp_path / "cache", tmp_path / "first"), tmp_path / "one.onnx")
    monkeypatch.setattr(onnx_convert, "onnx_from_reference", never)
    taken = with_cache(job, tmp_path / "cache", tmp_path / "second")
    onnx.make(taken, tmp_path / "two.onnx")
    assert sha256_of(tmp_path / "one.onnx") == sha256_of(tmp_path / "two.onnx")
    with pytest.raises(AssertionError, match="made again"):
        onnx.make(job, tmp_path / "three.onnx")


@pytest.mark.slow
def test_both_kinds_of_tflite_conversion_are_kept_apart(tmp_path: Path) -> None:
    """Recipes with int4 linear layers start from other float32 weights than those without."""
    job, files = dataclasses.replace(coreml_job(), options={}), []
    for cache, names in (("one", ("int4", "float32")), ("another", ("float32",))):
        for name in names:
            named = dataclasses.replace(job, recipe=recipes("tflite")[name])
            files.append(tmp_path / f"{cache}_{name}.tflite")
            tflite.make(with_cache(named, tmp_path / cache, tmp_path / files[-1].stem), files[-1])
    assert files[1].read_bytes() == files[2].read_bytes()


def one_weight(model: Any) -> None:
    with torch.no_grad():
        model.distilbert.transformer.layer[0].ffn.lin1.bias[3] += 1e-6


def epsilon(model: Any) -> None:
    model.distilbert.transformer.layer[1].sa_layer_norm.eps = 1e-5


def activation(model: Any) -> None:
    model.config.activation = "relu"


@pytest.mark.parametrize("change", [one_weight, epsilon, activation])
def test_another_model_is_another_request(change: Callable[[Any], None]) -> None:
    before, after = (lively_classifier() for _ in range(2))
    assert reference_sha256(reference_from_model(before)) == reference_sha256(
        reference_from_model(after)
    )
    changed = lively_classifier()
    change(changed)
    assert reference_sha256(reference_from_model(before)) != reference_sha256(
        reference_from_model(changed)
    )


def test_pooling_is_part_of_a_reference() -> None:
    model = lively_classifier()
    found = {
        reference_sha256(reference_of_vectors(model, EmbeddingSettings(pooling, normalize)))
        for pooling in ("mean", "cls")
        for normalize in (False, True)
    }
    assert len(found) == 4


def test_lengths_options_and_versions_are_part_of_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = lively_classifier()
    jobs = [
        coreml_job(model),
        coreml_job(model, lengths=(8, 16)),
        coreml_job(model, deployment_target="iOS18"),
        dataclasses.replace(coreml_job(model), recipe=recipes("onnx")["int8"]),
    ]
    found = [conversion_request(job, {}) for job in jobs]
    found.append(conversion_request(jobs[0], {"labels": "[]"}))
    version = fingerprints.importlib.metadata.version
    monkeypatch.setattr(
        fingerprints.importlib.metadata,
        "version",
        lambda name: version(name) + (".1" if name == "coremltools" else ""),
    )
    found.append(conversion_request(jobs[0], {}))
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    # The recipe is not: all of a target's start from the same conversion.
    assert conversion_request(jobs[0], {}) == found[-1]
    other = dataclasses.replace(jobs[0], recipe=recipes("coreml")["int8"])
    assert conversion_request(other, {}) == found[-1]


def test_a_converters_own_source_is_part_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_EXPORT", tmp_path)
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "_convert.py").write_text("scale = 1\n")
    found = []
    for name, text in (("notes.md", "x"), ("_convert.py", "scale = 2\n"), ("_new.py", "")):
        sources_sha256.cache_clear()
        found.append(sources_sha256("targets"))
        (tmp_path / "targets" / name).write_text(text)
    sources_sha256.cache_clear()
    found.append(sources_sha256("targets"))
    sources_sha256.cache_clear()
    assert found[0] == found[1]  # notes are no source
    assert len(set(found)) == 3


def test_every_target_has_its_sources_counted() -> None:
    whole = sources_sha256("targets/onnx")
    assert whole not in {sources_sha256(), sources_sha256("targets/coreml")}
