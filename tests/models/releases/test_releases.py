"""The store of releases: whole or not at all, refused when damaged, one step back."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inspector.bundle import Bundle
from inspector.errors import BundleError, RecipeError
from inspector.ports import DetectorInfo
from inspector.recipe import load
from models.releases import ACTIVE, GATE, Candidate, Installed, Store
from models.releases_station import activate, roll_back
from models.sealed import ReleaseError

RUNTIME = "OpenVINO 2099.1"
INFO = DetectorInfo("CPU", "fp32/f32", ("open", "short"), RUNTIME)
RECIPE = """
name = "board"
frame = {{ width = 64, height = 64 }}
presence = {{ method = "off", why = "for tests" }}
classes = {{ open = {{ limit = {limit}, severity = "critical" }}, short = {{ limit = 0.5 }} }}
"""
TEMPLATE = RECIPE.replace('{{ method = "off", why = "for tests" }}', '{{ method = "template", picture = "{mark}", position = [1, 1] }}')

Install = Callable[..., Installed]

MakeGate = Callable[..., dict[str, Any]]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_release_holds_all_that_it_needs(store: Store, install: Install, bundle: Bundle) -> None:
    made = install(0.5, passed=None)
    recipe, copied = made.open()
    assert (recipe.revision, copied.hash) == (made.file.recipe_revision, bundle.hash)
    assert load(made.recipe_file).revision == recipe.revision
    assert made.gate() is None
    assert (made.file.device, made.file.precision, made.file.asked_precision) == ("CPU", "fp32/f32", "fp32")
    before = _files(store.folder)
    assert install(0.5, passed=None).id == made.id
    assert _files(store.folder) == before, "the same release again changes nothing"
    assert store.find(made.id[:5]).id == made.id


def test_what_a_killed_installation_left_is_no_release(store: Store, install: Install) -> None:
    ident = install(0.5, passed=None).id
    shutil.move(store.folder / ident, store.folder / f".{ident}.1")
    assert list(store.every()) == []
    assert install(0.5, passed=None).open()
    assert sorted(p.name for p in store.folder.iterdir() if p.is_dir()) == [ident]


def test_pictures_of_the_recipe_go_along(store: Store, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    cv2.imwrite(str(tmp_path / "marks" / "fid.png"), np.eye(16, dtype=np.uint8) * 200)
    path = tmp_path / "r.toml"
    path.write_text(TEMPLATE.format(limit=0.5, mark="marks/fid.png"))
    made = store.install(Candidate(path, load(path), bundle, INFO, "CPU", "fp32"), "mia")
    assert (made.folder / "recipe" / "marks" / "fid.png").exists()
    assert made.open()[0].pictures.keys() == {"marks/fid.png"}
    path.write_text(TEMPLATE.format(limit=0.5, mark=tmp_path / "marks" / "fid.png"))
    with pytest.raises(ReleaseError, match="has to lie in the recipe's own folder"):
        store.install(Candidate(path, load(path), bundle, INFO, "CPU", "fp32"), "mia")
    assert [p.name for p in store.folder.iterdir() if p.is_dir()] == [made.id]


@pytest.mark.parametrize("step", range(9))
def test_a_disk_that_fills_leaves_no_half_release(store: Store, install: Install, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    first = install(0.5)
    activate(store, first, RUNTIME, "mia")
    before, calls, real = _files(store.folder), [0], os.fsync

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] > step:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReleaseError, match=r"cannot be written \(No space left on device\): make room") as refused:
        install(0.6, passed=None)
    assert "\n" not in str(refused.value)
    monkeypatch.undo()
    after = _files(store.folder)
    assert {name: after[name] for name in before} == before
    if step < 8:
        assert after == before
    else:  # the very last step makes durable what already lies there whole
        assert install(0.6, passed=None).open()


def test_a_full_disk_changes_neither_pointer_nor_gate(
    store: Store, install: Install, monkeypatch: pytest.MonkeyPatch, make_gate: MakeGate
) -> None:
    first = install(0.5)
    activate(store, first, RUNTIME, "mia")
    before = _files(store.folder)

    room, real = [0], os.fsync

    def full(handle: int) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReleaseError, match="No space left"):
        activate(store, first, RUNTIME, "mia")
    with pytest.raises(ReleaseError, match="No space left"):
        store.keep_gate(first, make_gate(False, None), "<html> other")
    room[0] = 1
    with pytest.raises(ReleaseError, match="No space left"):
        store.keep_gate(first, make_gate(False, None), "<html> other")
    assert _files(store.folder) == before


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda r: _edit(r.folder / "bundle" / "card.json", '"none"', '"mine"'), "was edited after it was made"),
        (lambda r: (r.folder / "bundle" / "fp32" / "model.bin").write_bytes(b"x"), "differs from what card.json"),
        (lambda r: _edit(r.folder / "bundle" / "fp32" / "model.xml", "tiny", "tinx"), "differs from what card.json"),
        (lambda r: _edit(r.recipe_file, "0.6", "0.9"), "is not the one that was installed"),
        (lambda r: _edit(r.folder / "recipe.json", "0.6", "0.9"), "it was changed"),
        (lambda r: _edit(r.folder / "release.json", "fp32/f32", "int8/f32"), "was edited"),
        (lambda r: (r.folder / "release.json").unlink(), "cannot be read"),
        (lambda r: _edit(r.folder / GATE, "mia", "tom"), r"gate\.json: was edited"),
        (lambda r: (r.folder / GATE).write_text("[]"), "is no JSON object"),
    ],
)
def test_a_damaged_release_is_never_activated(store: Store, install: Install, act: Callable[[Installed], None], says: str) -> None:
    first = install(0.5)
    activate(store, first, RUNTIME, "mia")
    second = install(0.6, against=first.id)
    act(second)
    before = (store.folder / ACTIVE).read_bytes()
    with pytest.raises((ReleaseError, BundleError, RecipeError), match=says) as refused:
        activate(store, store.find(second.id), RUNTIME, "mia")
    assert "\n" not in str(refused.value)
    assert (store.folder / ACTIVE).read_bytes() == before


def test_another_release_s_gate_proves_nothing(store: Store, install: Install) -> None:
    first, second = install(0.5), install(0.6, passed=None)
    shutil.copyfile(first.folder / GATE, second.folder / GATE)
    with pytest.raises(ReleaseError, match=f"is of release {first.id}"):
        activate(store, second, RUNTIME, "mia")


def test_what_the_gate_has_not_passed_is_refused(store: Store, install: Install, make_gate: MakeGate) -> None:
    with pytest.raises(ReleaseError, match="has not been through the gate"):
        activate(store, install(0.5, passed=None), RUNTIME, "mia")
    with pytest.raises(ReleaseError, match="refused by the gate: 3 of 3 defective boards pass"):
        activate(store, install(0.5, passed=False), RUNTIME, "mia")
    other = install(0.5)
    store.keep_gate(other, make_gate(True, None, precision="int8/f32"), "<html>")
    with pytest.raises(ReleaseError, match="passed on CPU int8/f32, and runs on CPU fp32/f32"):
        activate(store, other, RUNTIME, "mia")
    with pytest.raises(ReleaseError, match=r"passed with OpenVINO 2099\.1, here is OpenVINO 2100"):
        activate(store, install(0.5), "OpenVINO 2100", "mia")
    assert store.pointer() is None


def test_a_gate_against_a_release_that_is_no_longer_active_is_stale(store: Store, install: Install) -> None:
    a, b, c = install(0.5), install(0.6), install(0.7)
    activate(store, a, RUNTIME, "mia")
    with pytest.raises(ReleaseError, match=f"passed against no release, active is {a.id}"):
        activate(store, b, RUNTIME, "mia")
    install(0.6, against=a.id), install(0.7, against=a.id)
    activate(store, b, RUNTIME, "mia")
    with pytest.raises(ReleaseError, match=f"passed against {a.id}, active is {b.id}"):
        activate(store, c, RUNTIME, "mia")
    activate(store, install(0.5, name="other board"), RUNTIME, "mia")
    assert store.baseline("board") is None, "another product's release is nothing to compare with"


def test_back_step_by_step(store: Store, install: Install, make_gate: MakeGate) -> None:
    a = install(0.5)
    with pytest.raises(ReleaseError, match="no release before the active one"):
        roll_back(store, "mia")
    activate(store, a, RUNTIME, "mia")
    b = install(0.6, against=a.id)
    said = activate(store, b, RUNTIME, "mia")
    assert "no station runs" in said
    assert "does not read it yet" in said
    c = install(0.7, against=b.id)
    activate(store, c, RUNTIME, "mia")
    activate(store, c, RUNTIME, "mia")
    store.keep_gate(b, make_gate(False, a.id), "<html>")
    assert f"went back to {b.id}" in roll_back(store, "tom"), "no gate is asked on the way back"
    pointer = store.pointer()
    assert pointer is not None
    assert (pointer.active.id, pointer.active.by, [s.id for s in pointer.before]) == (b.id, "tom", [a.id])
    roll_back(store, "tom")
    with pytest.raises(ReleaseError, match="no release before the active one"):
        roll_back(store, "tom")


def test_going_back_to_damaged_files_is_refused(store: Store, install: Install) -> None:
    a = install(0.5)
    activate(store, a, RUNTIME, "mia")
    b = install(0.6, against=a.id)
    activate(store, b, RUNTIME, "mia")
    (a.bundle_folder / "fp32" / "model.bin").unlink()
    with pytest.raises(BundleError, match=r"model\.bin: cannot be read"):
        roll_back(store, "mia")
    pointer = store.pointer()
    assert pointer is not None
    assert pointer.active.id == b.id


def test_retired_is_for_good(store: Store, install: Install) -> None:
    a = install(0.5)
    activate(store, a, RUNTIME, "mia")
    b = install(0.6, against=a.id)
    activate(store, b, RUNTIME, "mia")
    c = install(0.7, against=b.id)
    with pytest.raises(ReleaseError, match="is active"):
        store.retire(b, "mia")
    with pytest.raises(ReleaseError, match="the one to go back to"):
        store.retire(a, "mia")
    activate(store, c, RUNTIME, "mia")
    store.retire(a, "mia")
    store.retire(a, "mia")
    with pytest.raises(ReleaseError, match="is retired"):
        activate(store, a, RUNTIME, "mia")
    assert a.open()
    roll_back(store, "mia")
    with pytest.raises(ReleaseError, match="no release before"):
        roll_back(store, "mia")


def test_two_commands_at_once(store: Store, install: Install) -> None:
    a = install(0.5)
    with store.locked(), pytest.raises(ReleaseError, match="another command changes the releases"):
        activate(store, a, RUNTIME, "mia")
    activate(store, a, RUNTIME, "mia")


@pytest.mark.parametrize(("ident", "says"), [("", "no release"), ("zz", "no release zz"), ("../x", "no release")])
def test_no_such_release(store: Store, install: Install, ident: str, says: str) -> None:
    install(0.5)
    with pytest.raises(ReleaseError, match=says):
        store.find(ident)
