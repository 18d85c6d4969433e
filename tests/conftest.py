"""Shared fixtures, real and small: labelled texts, a classifier trained on them, a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from export import content_cache
from export.data import DataSettings, load_dataset
from export.data.task import TextDataset
from export.pipeline import export_bundle
from export.training.finetune import fine_tune
from runtime.bundle import Bundle, open_bundle

from support import TINY_SETTINGS, export_settings, weather_rows, write_csv


@pytest.fixture(scope="session", autouse=True)
def _conversions_are_made_anew() -> Iterator[None]:
    """Some tests break a converter on purpose: what it makes must not be met by another test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_cache, "usual_cache", lambda: content_cache.NO_CACHE)
        yield


@pytest.fixture(scope="session")
def weather_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "weather.csv", weather_rows())


@pytest.fixture(scope="session")
def weather(weather_file: Path) -> TextDataset:
    return load_dataset(DataSettings(source=str(weather_file)))


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory, weather: TextDataset) -> Path:
    """A tiny DistilBERT that has learned the weather."""
    folder = tmp_path_factory.mktemp("checkpoints") / "weather-model"
    result = fine_tune(weather, TINY_SETTINGS, folder)
    assert result.validation["accuracy"] > 0.9
    return folder


@pytest.fixture(scope="session")
def bundle_folder(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Path, weather_file: Path
) -> Path:
    """A green bundle with every target and both recipes. Read-only: copy it before changing it."""
    out = tmp_path_factory.mktemp("dist") / "weather"
    exported = export_bundle(
        export_settings(checkpoint_folder, weather_file, out, targets=("all",))
    )
    assert exported.bundle == out
    return out


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    return open_bundle(bundle_folder)
