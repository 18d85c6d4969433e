from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import export.cli
from export.data.task import TextDataset
from runtime.errors import UserError
from runtime.vector_file import text_sha256, write_vectors

pytest.importorskip("pyarrow")


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(export.cli.app, ["embed", *map(str, arguments)])


def test_lines_of_a_file_keep_their_places(checkpoint_folder: Path, tmp_path: Path) -> None:
    lines = ["the sky is bright", "", "the sky is bright", "Ünï 🌧"]
    source, out = tmp_path / "texts.txt", tmp_path / "deep" / "v.npz"
    source.write_bytes("\r\n".join(lines).encode("utf-8"))
    result = _run("--model", checkpoint_folder, "--texts", source, "--out", out)
    assert result.exit_code == 0, result.output
    with np.load(out, allow_pickle=False) as found:
        vectors = found["vectors"]
        assert vectors.shape == (4, 64)
        assert vectors.dtype == np.float32
        assert found["row"].tolist() == [0, 1, 2, 3]
        assert found["sha256"].tolist() == [text_sha256(line) for line in lines]
        about = json.loads(str(found["about"]))
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (about["pooling"], about["normalized"]) == ("mean", True)
    assert len(about["weights_sha256"]) == 64
    again = tmp_path / "again.npz"
    _run("--model", checkpoint_folder, "--texts", source, "--out", again)
    assert again.read_bytes() == out.read_bytes()


def test_labelled_data_becomes_parquet_with_splits(
    checkpoint_folder: Path, weather: TextDataset, weather_file: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet

    out = tmp_path / "v.parquet"
    result = _run(
        *("--model", checkpoint_folder, "--data", weather_file, "--out", out),
        *("--pooling", "cls", "--raw", "--cache", tmp_path / "kept"),
    )
    assert result.exit_code == 0, result.output
    table = pyarrow.parquet.read_table(out)
    wanted = [
        (split, row, text_sha256(example.text))
        for split, rows in weather.splits.items()
        for row, example in enumerate(rows)
    ]
    columns = [table[name].to_pylist() for name in ("split", "row", "sha256")]
    assert list(zip(*columns, strict=True)) == wanted
    assert len(table["vector"][0].as_py()) == 64
    assert json.loads(table.schema.metadata[b"about"])["normalized"] is False
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "v.npz"), "one of --data and --texts"),
        (("--out", "v.npz", "--data", "x", "--texts", "y"), "one of --data and --texts"),
        (("--out", "v.csv", "--texts", "y"), "must end in .npz or .parquet"),
        (("--out", "v.npz", "--texts", "missing.txt"), "cannot be read"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...],
    words: str,
    checkpoint_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = _run("--model", checkpoint_folder, *arguments)
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_text_are_refused(checkpoint_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"good\n\xff\xfe bad\n")
    result = _run(
        *("--model", checkpoint_folder, "--texts", tmp_path / "t.txt"),
        *("--out", tmp_path / "v.npz"),
    )
    assert "is not UTF-8" in str(result.exception)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "v.npz").mkdir()
    with pytest.raises(UserError, match="it is a folder"):
        write_vectors(tmp_path / "v.npz", np.zeros((1, 2), dtype=np.float32), ["a"], {})
