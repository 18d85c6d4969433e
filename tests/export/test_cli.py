"""The commands as a user calls them: exit statuses, one line for a mistake, no traceback."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.cli import main

from support import ROOT, weather_rows, write_csv


def mobile_export(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "export", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def without_a_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same entry point, without the seconds in which a new process imports torch."""
    told, wrong = io.StringIO(), io.StringIO()
    status: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mobile-export", *map(str, arguments)])
        patch.chdir(ROOT)
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(wrong):
            try:
                main()
            except SystemExit as ended:
                status = ended.code or 0
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, told.getvalue(), wrong.getvalue())


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    "command", ["", "finetune", "export", "parity", "classify", "inspect"], ids=lambda c: c or "all"
)
def test_help_answers_without_torch(command: str) -> None:
    done = mobile_export(*([command] if command else []), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_unknown_target() -> None:
    done = mobile_export("export", "--target", "tflight")
    assert_one_line(done, "unknown TARGET 'tflight'", "coreml, onnx, tflite, all")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: None, ("nothing.csv",)),
        (lambda f: f.write_text(""), ("nothing.csv", "empty")),
        (lambda f: f.write_text("text,label\n"), ("nothing.csv",)),
        (lambda f: f.write_text("text,mood\ngood,x\nbad,y\n"), ("label",)),
        (lambda f: write_csv(f, [(t, "x") for t, _ in weather_rows()]), ("one class",)),
        (lambda f: f.write_bytes(b"text,label\n\xff\xfe,x\n"), ("UTF-8",)),
    ],
    ids=["missing", "empty", "header-only", "no-label-column", "one-class", "not-utf8"],
)
def test_bad_data(tmp_path: Path, make, words: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "nothing.csv"
    make(file)
    options = ["--data", file, "--out", tmp_path / "out", "--label-columns", "label"]
    run = without_a_process if file.exists() else mobile_export
    done = run("export", "--target", "onnx", *options)
    assert_one_line(done, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("lengths", "word"), [("32,x", "32,x"), ("32,500", "500 ids")])
def test_bad_lengths(tmp_path: Path, weather_file: Path, lengths: str, word: str) -> None:
    options = ["--data", weather_file, "--out", tmp_path / "out", "--lengths", lengths]
    assert_one_line(without_a_process("export", "--target", "tflite", *options), word)


def test_bad_models(tmp_path: Path, checkpoint_folder: Path, weather_file: Path) -> None:
    common = ["export", "--target", "onnx", "--data", weather_file, "--out", tmp_path / "out"]
    done = without_a_process(*common, "--model", "./missing")
    assert_one_line(done, "there is no folder ./missing")
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in checkpoint_folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert_one_line(without_a_process(*common, "--model", broken), "corrupt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken"]


def test_interrupted(tmp_path: Path, weather_file: Path) -> None:
    # Of its own, so that no earlier run left the checkpoint there.
    here = tmp_path / "here"
    here.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "export", "export", "--target", "onnx",
         "--data", str(weather_file), "--out", str(tmp_path / "out")],
        cwd=here, stderr=subprocess.PIPE, text=True,
        # A test run in the background is deaf to Ctrl-C, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    assert child.stderr is not None
    seen = ""
    while "fine-tuning small" not in seen:
        seen = child.stderr.readline()
        assert seen, "it ended by itself"
    child.send_signal(signal.SIGINT)
    rest = child.communicate()[1]
    assert child.returncode == 130
    assert rest.splitlines()[-1] == "error: interrupted; nothing was half written."
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == [here]


def test_impossible_numbers() -> None:
    done = without_a_process("finetune", "--learning-rate", "7")
    assert_one_line(done, "learning rate")
    assert without_a_process("finetune", "--epochs", "0").returncode == 2


def test_finetune_then_export_then_classify(
    tmp_path: Path, checkpoint_folder: Path, weather_file: Path
) -> None:
    data = ["--data", weather_file, "--max-length", "64"]
    model = ["--model", checkpoint_folder]
    run = tmp_path / "run"
    done = mobile_export("finetune", "--epochs", "1", *model, *data, "--out", run)
    assert done.returncode == 0, done.stderr
    assert "training loss" in done.stdout
    assert "bag of words" in done.stdout
    out = tmp_path / "bundle"
    done = mobile_export("export", "--target", "onnx", "--model", run, *data, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "gate: PASS" in done.stdout
    done = mobile_export("classify", out, "the lake is icy again")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].strip() == "snowy"


@pytest.mark.slow
def test_an_interrupted_finetune_goes_on(tmp_path: Path, weather_file: Path) -> None:
    """Ctrl-C in the middle; the same command continues; --fresh and other settings do not."""
    out = tmp_path / "run"
    common = ["finetune", "--data", weather_file, "--max-length", "32", "--epochs", "3"]
    common += ["--batch-size", "16", "--save-every", "5", "--baselines", "none", "--out", out]
    child = subprocess.Popen(
        [sys.executable, "-m", "export", *map(str, common)], cwd=ROOT, stderr=subprocess.PIPE
    )
    while not list((tmp_path / "run.run").glob("step-*")):
        assert child.poll() is None, "it ended by itself"
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    assert b"Traceback" not in child.communicate()[1]
    assert child.returncode == 130
    assert not out.exists()
    done = mobile_export(*common[:-2], "--epochs", "2", "--out", out)
    assert_one_line(done, "holds an unfinished run of another kind", "epochs: 3 there, 2 now")
    done = mobile_export(*common)
    assert done.returncode == 0, done.stderr
    assert "continuing from step" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_options_of_training() -> None:
    done = without_a_process("finetune", "--baselines", "oracle")
    assert_one_line(done, "no baseline 'oracle'")
    done = without_a_process("finetune", "--learning-rate", "2")
    assert_one_line(done, "learning rate")
    done = without_a_process("finetune", "--precision", "float16", "--data", "sample:sentiment")
    assert_one_line(done, "float16")
