"""The embedded samples, read as any other source."""

from __future__ import annotations

import pytest

from export import sample
from export.data import DataSettings, load_dataset
from runtime.errors import UserError


@pytest.mark.parametrize("task", list(sample.TASKS))
def test_a_sample_is_a_sound_data_set(task: str) -> None:
    found = load_dataset(DataSettings(source=f"sample:{task}"))
    assert found.name == f"sample:{task}"
    assert found.is_multi_label == sample.is_multi_label(task)
    assert found.labels == tuple(sample.labels(task))
    # What we ship has no broken rows and no leaks.
    assert found.problems == ()
    assert sum(map(len, found.splits.values())) == len(list(sample.texts(task)))
    rows = {row.text: row.labels for rows in found.splits.values() for row in rows}
    for item in sample.texts(task):
        assert {found.labels[index] for index in rows[item.text]} == set(item.labels)
        assert any(row.text == item.text for row in found.splits[item.split])


def test_the_default_is_a_sample() -> None:
    assert load_dataset(DataSettings()).name == "sample:sentiment"


def test_a_sample_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"no sample 'weather'.*sample:sentiment"):
        load_dataset(DataSettings(source="sample:weather"))


def test_explicit_labels_reorder_a_sample() -> None:
    names = tuple(reversed(load_dataset(DataSettings()).labels))
    found = load_dataset(DataSettings(labels=names))
    assert found.labels == names
    assert found.problems == ()
