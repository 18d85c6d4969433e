"""Settings → transformers' TrainingArguments, and what this machine can do."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Literal

import torch
import transformers

from export.settings import FineTuneSettings, Precision
from export.training.processes import World
from runtime.errors import UserError

Resolved = Literal["float32", "bfloat16", "float16"]


def training_arguments(
    settings: FineTuneSettings,
    folder: Path,
    processes: World,
    *,
    steps_per_epoch: int,
    idle_parameters: bool,
) -> transformers.TrainingArguments:
    """Trainer's arguments; it saves, logs and shows nothing by itself.

    Args:
        settings: of the run.
        folder: of the run.
        processes: that train together.
        steps_per_epoch: optimizer steps.
        idle_parameters: some have no part in the loss; processes must not wait for their gradients.

    Raises:
        UserError: this machine has no such precision, or nothing to compile with.
    """
    chosen = settings.effective
    precision = resolve_precision(settings.precision)
    if settings.compile:
        check_compile()
    gpu = torch.cuda.is_available()
    return transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=chosen.epochs,
        per_device_train_batch_size=chosen.batch_size,
        gradient_accumulation_steps=chosen.accumulation,
        learning_rate=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        warmup_steps=math.ceil(chosen.warmup_share * steps_per_epoch * chosen.epochs),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        bf16=precision == "bfloat16",
        fp16=precision == "float16",
        torch_compile=settings.compile,
        ddp_find_unused_parameters=idle_parameters,
        # Without this, several processes on CPUs would train apart, and nobody would notice.
        use_cpu=not gpu and (processes.size > 1 or precision != "float32"),
        eval_strategy="epoch",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        seed=settings.seed,
        data_seed=settings.seed,
        disable_tqdm=True,
        dataloader_pin_memory=gpu,
        log_level="error",
        log_level_replica="error",
        remove_unused_columns=False,
    )


def resolve_precision(wanted: Precision) -> Resolved:
    """The precision of the passes in training on this machine.

    Raises:
        UserError: it has no such precision.
    """
    able = available_precisions()
    if wanted == "auto":
        if not torch.cuda.is_available():
            return "float32"
        return "bfloat16" if "bfloat16" in able else "float16"
    if wanted not in able:
        raise UserError(
            f"{device_name()} does not train in {wanted}",
            why=f"it has {', '.join(able)}",
            todo=f"choose one of these: PRECISION={able[-1]}",
        )
    return wanted


def available_precisions() -> tuple[Resolved, ...]:
    """What this machine trains in. float16 needs a GPU's loss scaling."""
    if not torch.cuda.is_available():
        return ("float32", "bfloat16")
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return ("float32", "bfloat16", "float16")
    return ("float32", "float16")


def check_compile() -> None:
    """Whether torch.compile has what it needs.

    Raises:
        UserError: there is no C++ compiler for the CPU, or no Triton for the GPU.
    """
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        if not has_triton():
            raise UserError(
                "torch.compile cannot work here", why="Triton is missing", todo="drop COMPILE="
            )
    elif not shutil.which(os.environ.get("CXX", "g++")) and not shutil.which("clang++"):
        raise UserError(
            "torch.compile cannot work here",
            why="on a CPU it needs a C++ compiler and there is none",
            todo="install g++ or name one with CXX=, or drop COMPILE=",
        )


def device_name() -> str:
    """``cpu``, or the accelerator's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
