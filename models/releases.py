"""The releases of a station, in its data folder, and which one is active.

    releases/ID/release.json   what it is: recipe revision, bundle hash, device, precision, runtime; sealed by SHA-256
             ID/recipe/        recipe.toml and the pictures that it names;  ID/recipe.json: the same recipe as the records hold it
             ID/bundle/        a copy of the bundle, every file verified as it was copied
             ID/gate.json      what the last gate found, sealed; gate.html beside it
             ID/retired.json   only once it is retired: who, when
    releases/active.json       the active release, and those before it, newest last

ID is the one that stands with each part in the records (inspector.release). A release appears whole (written aside, then renamed) or not at
all; files change by rename only, so that a full disk or a power cut leaves the old one.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict

from inspector.bundle import CARD, Bundle, Sha256, Words
from inspector.clock import wall_utc
from inspector.ports import DetectorInfo
from inspector.recipe import Recipe, load, restore
from inspector.release import Release
from models.sealed import ReleaseError, Sealed, read_json, read_sealed, seal, sync_folder, told, write, write_whole

FOLDER, RELEASE, GATE, REPORT, RETIRED, ACTIVE = "releases", "release.json", "gate.json", "gate.html", "retired.json", "active.json"
RECIPE_FILE = "recipe/recipe.toml"
LONGEST_PAST = 100
"""So many releases can be gone back to, one by one; older ones are forgotten as steps, and stay in the store."""


class ReleaseFile(Sealed):
    """release.json. device, precision and runtime are what really ran; asked_* is what has to be asked for to get them."""

    id: Words
    recipe: Words
    recipe_revision: Sha256
    bundle: Words
    bundle_sha256: Sha256
    device: Words
    precision: Words
    runtime: Words
    asked_device: Words
    asked_precision: Words
    installed_utc: Words
    installed_by: Words


class GateFile(Sealed):
    """gate.json: one run of the gate. against: the release that it was held against, None where there was none of this recipe."""

    release: Words
    against: Words | None
    passed: bool
    device: Words
    precision: Words
    runtime: Words
    golden_sha256: Sha256
    utc: Words
    by: Words
    limits: dict[str, float]
    findings: list[dict[str, Any]]
    flips: list[dict[str, Any]]
    evaluation: dict[str, Any]
    active_evaluation: dict[str, Any] | None


class Step(BaseModel):
    """One activation: which release, when, by whom."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    id: Words
    utc: Words
    by: Words


class Pointer(Sealed):
    """active.json. before: the releases to go back to, newest last."""

    active: Step
    before: list[Step]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recipe file and a bundle, as a detector really opened it. asked_*: the device and precision that were asked for."""

    recipe_file: Path
    recipe: Recipe
    bundle: Bundle
    info: DetectorInfo
    asked_device: str
    asked_precision: str

    @property
    def release(self) -> Release:
        i = self.info
        return Release(self.recipe, self.bundle.name, self.bundle.hash, i.device, i.precision, i.runtime)


@dataclass(frozen=True, slots=True)
class Installed:
    """A release in the store; its files are verified when they are opened."""

    folder: Path
    file: ReleaseFile

    @property
    def id(self) -> str:
        return self.file.id

    @property
    def recipe_file(self) -> Path:
        return self.folder / RECIPE_FILE

    @property
    def bundle_folder(self) -> Path:
        return self.folder / "bundle"

    @property
    def retired(self) -> bool:
        return (self.folder / RETIRED).exists()

    def __str__(self) -> str:
        f = self.file
        return f"{f.id} (recipe {f.recipe} {f.recipe_revision[:12]}, bundle {f.bundle}, {f.device} {f.precision})"

    def open(self) -> tuple[Recipe, Bundle]:
        """Recipe and bundle, verified against what release.json says. Raises RecipeError, BundleError or ReleaseError."""
        raw = read_json(self.folder / "recipe.json")
        recipe, bundle = restore(raw), Bundle.open(self.bundle_folder)
        revisions = (recipe.revision, load(self.recipe_file).revision)
        if set(revisions) != {self.file.recipe_revision} or bundle.hash != self.file.bundle_sha256:
            raise ReleaseError(f"{self.folder}: recipe or bundle is not the one that was installed; install and gate the release again")
        return recipe, bundle

    def gate(self) -> GateFile | None:
        """What the last gate found; None before the first. Raises ReleaseError when the file was changed, or is another release's."""
        if not (self.folder / GATE).exists():
            return None
        found = read_sealed(self.folder / GATE, GateFile)
        if found.release != self.id:
            raise ReleaseError(f"{self.folder / GATE}: is of release {found.release}; run the gate again")
        return found


class Store:
    """The releases under one data folder. Changes are made under a lock, which the kernel gives back when a process dies."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = data / FOLDER

    def install(self, candidate: Candidate, who: str) -> Installed:
        """Copy recipe and bundle into the store; a release that is there already is verified and stays as it is.

        Raises ReleaseError (a disk that is full, a recipe whose pictures lie elsewhere), BundleError or RecipeError."""
        release = candidate.release
        folder = self.folder / release.id
        if folder.exists():
            there = self.find(release.id)
            there.open()
            return there
        aside = self.folder / f".{release.id}.{os.getpid()}"
        try:
            with self.locked(), told(aside):
                for left in self.folder.glob(f".{release.id}.*"):  # by an installation that was killed
                    shutil.rmtree(left, ignore_errors=True)
                self._fill(aside, candidate, release, who)
                sync_folder(aside)
                aside.rename(folder)
                sync_folder(self.folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return self.find(release.id)

    def find(self, ident: str) -> Installed:
        """The release of that id, or of the only id that begins so. Raises ReleaseError."""
        ids = [i for i in self._ids() if i == ident] or [i for i in self._ids() if ident and i.startswith(ident)]
        if len(ids) != 1:
            what = f"{len(ids)} releases begin with {ident}" if ids else f"there is no release {ident}"
            raise ReleaseError(f"{self.folder}: {what}; `inspector model release list` names them")
        folder = self.folder / ids[0]
        file = read_sealed(folder / RELEASE, ReleaseFile)
        if file.id != ids[0]:
            raise ReleaseError(f"{folder}: holds release {file.id}; folders of the store are not renamed, install it again")
        return Installed(folder, file)

    def every(self) -> Iterator[Installed | ReleaseError]:
        """Every release, oldest first, damaged ones as the error that says what is wrong."""
        found: list[Installed | ReleaseError] = []
        for ident in self._ids():
            try:
                found.append(self.find(ident))
            except ReleaseError as error:
                found.append(error)
        yield from sorted(found, key=lambda r: r.file.installed_utc if isinstance(r, Installed) else "")

    def pointer(self) -> Pointer | None:
        """What is active; None before the first activation. Raises ReleaseError when the file was changed."""
        path = self.folder / ACTIVE
        return read_sealed(path, Pointer) if path.exists() else None

    def active(self) -> Installed | None:
        """The active release. Raises ReleaseError when it is damaged."""
        pointer = self.pointer()
        return None if pointer is None else self.find(pointer.active.id)

    def baseline(self, recipe: str) -> Installed | None:
        """What a candidate of that recipe name is held against: the active release, if it judges the same product."""
        active = self.active()
        return active if active is not None and active.file.recipe == recipe else None

    def keep_gate(self, release: Installed, content: dict[str, Any], html: str) -> GateFile:
        """Store a gate's report with its release, in place of the one before. Raises ReleaseError; then the one before still stands."""
        with self.locked():
            sealed = seal(content | {"format": 1, "release": release.id})
            write_whole((release.folder / REPORT, html.encode()), (release.folder / GATE, sealed))
        found = release.gate()
        assert found is not None
        return found

    def retire(self, release: Installed, who: str) -> None:
        """Never to be activated again; its files stay, because records refer to them. Raises ReleaseError for one that is in use."""
        with self.locked():
            pointer = self.pointer()
            if pointer is not None and release.id == pointer.active.id:
                raise ReleaseError(f"release {release.id} is active; activate another one first")
            if pointer is not None and pointer.before and release.id == pointer.before[-1].id:
                raise ReleaseError(f"release {release.id} is the one to go back to; activate another one first, then retire it")
            if not release.retired:
                write_whole((release.folder / RETIRED, json.dumps({"utc": wall_utc(), "by": who}).encode()))

    @contextmanager
    def pointing(self, active: Step, before: list[Step]) -> Iterator[Callable[[], None]]:
        """A new active.json, written out but not yet in place; calling what is yielded puts it there. So nothing but a rename is left to
        fail once the station has changed over. Raises ReleaseError."""
        path = self.folder / ACTIVE
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        content = {"format": 1, "active": active.model_dump(), "before": [s.model_dump() for s in before[-LONGEST_PAST:]]}
        try:
            with told(path):
                write(aside, seal(content))

            def put() -> None:
                with told(path):
                    aside.replace(path)
                    sync_folder(self.folder)

            yield put
        finally:
            aside.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One change at a time. Raises ReleaseError when another process is at it."""
        with told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o660)
        try:
            if sys.platform != "win32":
                import fcntl

                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ReleaseError(f"{self.folder}: another command changes the releases at this moment; try again") from None
            yield
        finally:
            os.close(handle)

    def _ids(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith("."))

    def _fill(self, folder: Path, candidate: Candidate, release: Release, who: str) -> None:
        recipe, bundle, info = candidate.recipe, candidate.bundle, candidate.info
        write(folder / RECIPE_FILE, candidate.recipe_file.read_bytes())
        for name, content in recipe.pictures.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ReleaseError(f"{candidate.recipe_file}: picture {name} has to lie in the recipe's own folder to be released with it")
            write(folder / "recipe" / name, content)
        if load(folder / RECIPE_FILE).revision != recipe.revision:
            raise ReleaseError(f"{candidate.recipe_file}: was changed while it was released; try again")
        write(folder / "recipe.json", json.dumps(recipe.document()).encode())
        for name in bundle.card.files:
            write(folder / "bundle" / name, bundle.read(name))
        write(folder / "bundle" / CARD, (bundle.folder / CARD).read_bytes())
        if Bundle.open(folder / "bundle").hash != bundle.hash:
            raise ReleaseError(f"{bundle.folder}: was changed while it was released; try again")
        facts: dict[str, Any] = {
            "format": 1,
            "id": release.id,
            "recipe": recipe.name,
            "recipe_revision": recipe.revision,
            "bundle": bundle.name,
            "bundle_sha256": bundle.hash,
            "device": info.device,
            "precision": info.precision,
            "runtime": info.runtime,
            "asked_device": candidate.asked_device,
            "asked_precision": candidate.asked_precision,
            "installed_utc": wall_utc(),
            "installed_by": who,
        }
        write(folder / RELEASE, seal(facts))
