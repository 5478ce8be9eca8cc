"""ultralytics' trainer, made to survive a kill and to be silent: whole checkpoints, seeds by epoch, a time limit over several runs.

Import only after models.train_torch.load_ultralytics.
"""

import os
import random
from collections.abc import Callable
from math import floor
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer

from models.train_plan import Plan, Progress, TrainError, WorkFolder

_PLACEHOLDER_EPOCHS = 1000
"""What a training that is limited by time counts to, until its first epoch has been timed."""
_NO_MOSAIC = 6
"""The last 1/6 of the epochs see plain tiles."""
LEARNING_RATE = 0.002


class Loop(DetectionTrainer):  # type: ignore[misc]
    """One training, from its beginning or from the last whole epoch that it kept."""

    def __init__(self, plan: Plan, work: WorkFolder, weights: Path | None, precision: str, said: Callable[[str], None]) -> None:
        """weights: what to begin with, None for random ones. precision: "fp32", "bf16" or "fp16". said: takes the line of progress."""
        self._plan, self._work, self._said, self._precision = plan, work, said, precision
        self._before = work.progress()
        self._began = monotonic()
        self._epochs_here = 0
        last = work.run / "weights" / "last.pt"
        overrides = _settings(plan, work, weights, precision)
        if last.exists():
            overrides |= {"resume": str(last), "save_dir": str(work.run.resolve())}  # the folder may have been moved since
        if plan.device == "cpu" and precision == "bf16":
            # ultralytics takes bf16 on GPUs only; its own switch would refuse
            engine.autocast = lambda enabled, device="cpu": torch.autocast("cpu", torch.bfloat16)  # noqa: ARG005
            overrides["amp"] = False
        engine.check_amp = lambda model: True  # noqa: ARG005  # it would fetch a picture and a network to try
        super().__init__(overrides=overrides)
        self.add_callback("on_train_epoch_start", lambda _: self._seed())
        self.add_callback("on_train_batch_end", lambda _: self._watch())
        self.add_callback("on_fit_epoch_end", lambda _: self._count())

    @property
    def seconds(self) -> float:
        """Training time so far, over all runs."""
        return self._before.seconds + monotonic() - self._began

    def save_model(self) -> bool:
        """Both checkpoints, written beside the old ones and put in their place as a whole: a kill tears none."""
        final: tuple[Path, Path] = (self.wdir / "best.pt", self.wdir / "last.pt")
        drafts = tuple(path.with_suffix(".new") for path in final)
        self.best, self.last = drafts
        try:
            saved = bool(super().save_model())
        finally:
            self.best, self.last = final
        for draft, path in zip(drafts, final, strict=True):  # best first: if only that one gets there, its epoch is trained again
            if draft.exists():
                with draft.open("rb") as file:
                    os.fsync(file.fileno())
                draft.replace(path)
        done = Progress(self.epoch + 1, self.seconds, self._before.runs + 1, False, self._precision, len(self.train_loader.dataset))
        self._work.note(done)
        return saved

    def final_eval(self) -> None:
        """Nothing: ultralytics would write over both checkpoints, and a kill meanwhile would lose them."""

    def _seed(self) -> None:
        """What chance decides in an epoch depends on seed and epoch alone, so that a training taken up again draws as it would have."""
        seed = (self._plan.seed * 100_003 + self.epoch) % 2**32
        random.seed(seed)
        np.random.seed(seed)  # ultralytics and its workers draw from here
        torch.manual_seed(seed)
        self.train_loader.generator.manual_seed(seed)

    def _watch(self) -> None:
        limit_s = None if self._plan.minutes is None else self._plan.minutes * 60
        if limit_s is not None and self.seconds > limit_s:
            self.stop = True
        batches, done = len(self.train_loader), getattr(self, "_batch", 0) + 1
        self._batch = done % batches
        share = (self._epochs_here + done / batches) / max(1e-9, self.epochs - self.start_epoch)
        left_s = (monotonic() - self._began) * (1 / share - 1)
        if limit_s is not None:
            left_s = max(0.0, limit_s - self.seconds)
        total = "?" if self.epochs == _PLACEHOLDER_EPOCHS else str(self.epochs)
        loss = sum(float(v) for v in (self.tloss or {}).values())
        self._said(f"epoch {self.epoch + 1}/{total}  batch {done}/{batches}  loss {loss:.3f}  {_minutes(left_s)} left")

    def _count(self) -> None:
        """After each epoch; where time is the limit, fit the number of epochs, and the learning rate's fall, to what is left."""
        self._epochs_here += 1
        self._batch = 0
        if self._plan.minutes is None:
            return
        per_epoch_s = (monotonic() - self._began) / self._epochs_here
        more = floor((self._plan.minutes * 60 - self.seconds) / per_epoch_s)
        self.stop = self.stop or more < 1
        self.epochs = self.args.epochs = self.epoch + 1 + max(0, more)
        self.args.close_mosaic = max(1, self.epochs // _NO_MOSAIC)
        self._setup_scheduler()
        self.scheduler.last_epoch = self.epoch


def run(plan: Plan, work: WorkFolder, weights: Path | None, precision: str, said: Callable[[str], None]) -> Progress:
    """Train to the end. Raises TrainError for what stops torch or ultralytics; what was kept stays."""
    try:
        Loop(plan, work, weights, precision, said).train()
    except (RuntimeError, AssertionError, ValueError) as e:
        why = " ".join(str(e).split())[:240]
        raise TrainError(f"{work.path}: training stopped ({type(e).__name__}: {why}); what is trained so far is kept") from e
    return work.finish()


def _settings(plan: Plan, work: WorkFolder, weights: Path | None, precision: str) -> dict[str, Any]:
    """ultralytics' settings: no change of colour, since grey levels and the three planes have a meaning."""
    epochs = plan.epochs or _PLACEHOLDER_EPOCHS
    on_gpu = plan.device != "cpu"
    return {
        "task": "detect",
        "model": plan.network,
        "pretrained": str(weights) if weights is not None else False,
        "cls_remap": False,
        "data": str(work.tiles / "data.yaml"),
        "project": str(work.path.resolve()),
        "name": work.run.name,
        "exist_ok": True,
        "epochs": epochs,
        "patience": 0,
        "imgsz": plan.tile,
        "batch": plan.batch,
        "nbs": plan.batch,
        "device": plan.device.removeprefix("cuda:") if ":" in plan.device else ("0" if on_gpu else "cpu"),
        "workers": min(8, os.cpu_count() or 1) if on_gpu else 0,
        "cache": "ram" if on_gpu else False,
        "amp": {"fp32": False, "bf16": "bf16", "fp16": True}[precision],
        "seed": plan.seed,
        "deterministic": True,
        "optimizer": "AdamW",
        "lr0": LEARNING_RATE,
        "lrf": 0.01,
        "momentum": 0.9,
        "cos_lr": True,
        "warmup_epochs": min(1.0, epochs / 10),
        "warmup_bias_lr": 0.0,
        "close_mosaic": max(1, epochs // _NO_MOSAIC),
        "mosaic": 0.5,
        "fliplr": 0.5,
        "flipud": 0.5,
        "scale": 0.2,
        "translate": 0.1,
        **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "bgr", "degrees", "shear", "perspective", "mixup", "cutmix", "copy_paste"), 0.0),
        "plots": False,
        "verbose": False,
    }


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
