"""What a training does, written down before it begins, and the work folder that keeps it: so that it can go on after a kill.

BUNDLE.work/  plan.json  progress.json  tiles/  run/     (beside the bundle; may be removed once the bundle is there)
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from inspector.bundle import InputKind
from inspector.errors import InspectorError
from models.dataset import Split
from models.tiles import VERSION, Tile, TileOptions, training_tiles, validation_tiles

WEIGHTS = "weights.pt"
"""Name of the trained weights in a bundle."""
PRECISIONS = ("fp32", "fp16", "int8")
VALIDATION_TILES = 400
MAY_CHANGE = ("device", "batch", "command")
"""What may differ when a training goes on; all else makes it another training."""


class TrainError(InspectorError):
    """A training that cannot begin, go on or end: what stands in the way, and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what a training gives.

    epochs    number of epochs; None when `minutes` limits the training instead
    size      px of the exported network's square input; tile: px of the training tiles, both multiples of 32
    base      what training starts from, for people; base_sha256: hash of the weights, None for random ones
    network   name of the network's description: "yolo26n.yaml", or a file
    data      SHA-256 of the training and validation splits
    """

    input: InputKind
    classes: tuple[str, ...]
    data: str
    base: str
    base_sha256: str | None
    network: str
    epochs: int | None
    minutes: float | None
    tile: int
    size: int
    views: int
    seed: int
    device: str
    batch: int
    command: str

    @property
    def tiles(self) -> TileOptions:
        return TileOptions(self.tile, self.views, self.input is InputKind.MONO_REFERENCE, self.input is InputKind.BGR, self.seed)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come. seconds: training time over all runs; runs: 1 + how often it was taken up again."""

    epochs: int = 0
    seconds: float = 0.0
    runs: int = 0
    finished: bool = False
    precision: str = ""
    images: int = 0


class WorkFolder:
    """The folder of one training; a kill at any moment leaves it readable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tiles = path / "tiles"
        self.run = path / "run"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the folder. Raises TrainError when another process trains in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                raise TrainError(f"{self.path}: another training works in this folder; wait for it, or name another --out") from e
            yield

    @property
    def begun(self) -> bool:
        """Whether a training has been planned here before."""
        return (self.path / "plan.json").exists()

    def take_up(self, plan: Plan) -> None:
        """Keep the plan, or find it kept. Raises TrainError for the work of another training."""
        before = self._read("plan.json")
        document: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
        if before is None:
            write_json(self.path / "plan.json", document)
            return
        other = [key for key in document if key not in MAY_CHANGE and before.get(key) != document[key]]
        if other:
            said = "was cut from another data set" if "data" in other else "belongs to another training"
            differs = ", ".join(f"{key} {_short(before.get(key))} there, {_short(document[key])} here" for key in other)
            raise TrainError(f"{self.path}: {said} ({differs}); remove the folder, or name another --out")

    def progress(self) -> Progress:
        """Raises TrainError when the file is damaged."""
        found = self._read("progress.json")
        try:
            return Progress(**found) if found is not None else Progress()
        except TypeError as e:
            raise TrainError(f"{self.path / 'progress.json'}: is damaged ({e}); remove the folder and train anew") from e

    def note(self, progress: Progress) -> None:
        write_json(self.path / "progress.json", asdict(progress))

    def finish(self) -> Progress:
        """Note that training is over: only the export is left to do."""
        done = replace(self.progress(), finished=True)
        self.note(done)
        return done

    def cut_tiles(self, plan: Plan, training: Sequence[Split], validation: Split, said: Callable[[str], None]) -> int:
        """Cut the tiles, or find them cut; returns the number of training tiles. Raises DatasetError, PictureError, TrainError."""
        key = {"version": VERSION, "data": plan.data, **asdict(plan.tiles)}
        done = self._read("tiles.json")
        if done is not None and done.get("key") == key:
            return int(done["training"])
        shutil.rmtree(self.tiles, ignore_errors=True)
        counts = {"train": 0, "val": 0, "boxes": 0}
        for folder, split in enumerate(training):
            for tile in training_tiles(split, plan.classes, plan.tiles, folder):
                self._keep("train", tile, counts)
                if counts["train"] % 50 == 0:
                    said(f"tiles: {counts['train']}")
        for tile in validation_tiles(validation, plan.classes, plan.tiles, VALIDATION_TILES):
            self._keep("val", tile, counts)
        if not counts["boxes"] or not counts["val"]:
            why = "no picture has a good twin of the same name in good/" if plan.tiles.reference else "no defect lies in any tile"
            raise TrainError(f"nothing to train on: {why}")
        write_json(self.path / "tiles.json", {"key": key, "training": counts["train"]})
        return counts["train"]

    def _keep(self, split: str, tile: Tile, counts: dict[str, int]) -> None:
        for kind, suffix, content in (
            ("images", ".png", cv2.imencode(".png", tile.pixels)[1].tobytes()),
            ("labels", ".txt", tile.rows().encode()),
        ):
            folder = self.tiles / kind / split
            folder.mkdir(parents=True, exist_ok=True)
            (folder / (tile.name + suffix)).write_bytes(content)
        counts[split] += 1
        counts["boxes"] += len(tile.boxes)

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as e:
            raise TrainError(f"{path}: is damaged ({e}); remove the folder and train anew") from e
        if not isinstance(found, dict):
            raise TrainError(f"{path}: is damaged; remove the folder and train anew")
        return found


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace the file as a whole: whoever reads it sees the old one or the new one."""
    write_whole(path, json.dumps(document, indent=1).encode())


def write_whole(path: Path, content: bytes) -> None:
    """The same for bytes; durable when it returns."""
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "…"
