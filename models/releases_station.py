"""Changing over: the active release is replaced, on the running station where there is one, else for its next start.

With a station on the data folder the change goes through its `activate` command, which it refuses unless READY is low. The pointer is
written out beforehand and put in place (a rename) once the station says that this very release runs; a station that cannot load it is sent
back to what it ran, and the pointer stays.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from inspector.clock import wall_utc
from inspector.errors import InspectorError, LinkError
from inspector.link.address import require_station, socket_path
from inspector.link.client import LinkClient
from inspector.types import Status
from models.releases import RETIRED, Installed, Step, Store
from models.sealed import ReleaseError

LOADING_S = 60.0
"""So long may a station take to load a release: a device may compile for that long the first time."""
_LOOK_S = 0.1
_ON_THE_WAY = ("loading", "not there yet")
NEXT_START = (
    "no station runs on this data folder: this is the active release from now on; `inspector run` does not read it yet, so name its "
    "recipe.toml and bundle in station.toml before the next start"
)

Connect = Callable[[Path], AbstractContextManager[LinkClient]]


def activate(store: Store, release: Installed, runtime: str, who: str, connect: Connect = LinkClient) -> str:
    """Make a release active; one line of what was done. runtime: what runs here, as "OpenVINO 2026.1".

    Raises ReleaseError without a passed gate for this device, precision and runtime against the release that is active now;
    CommandRefused by a station whose READY is high, LinkError."""
    with store.locked():
        require_passed(store, release, runtime)
        pointer = store.pointer()
        if pointer is not None and pointer.active.id == release.id:
            past = pointer.before
        else:
            past = [] if pointer is None else [*pointer.before, pointer.active]
        return _change(store, release, past, who, connect, back=False)


def roll_back(store: Store, who: str, connect: Connect = LinkClient) -> str:
    """Back to the release before, in one step and without a gate. Raises ReleaseError when there is none, or its files are damaged;
    CommandRefused by a station whose READY is high, LinkError."""
    with store.locked():
        pointer = store.pointer()
        steps = [] if pointer is None else [s for s in pointer.before if not (store.folder / s.id / RETIRED).exists()]
        if not steps:
            raise ReleaseError(f"{store.folder}: there is no release before the active one to go back to")
        return _change(store, store.find(steps[-1].id), steps[:-1], who, connect, back=True)


def require_passed(store: Store, release: Installed, runtime: str) -> None:
    """Raises ReleaseError unless the release may be activated on this machine."""
    f, again = release.file, "run `inspector model gate` for it"
    if release.retired:
        raise ReleaseError(f"release {release.id} is retired; gate and activate another one")
    gate = release.gate()
    if gate is None:
        raise ReleaseError(f"release {release.id} has not been through the gate; {again}")
    if not gate.passed:
        reasons = "; ".join(str(found["text"]) for found in gate.findings if not found["ok"])
        raise ReleaseError(f"release {release.id} was refused by the gate: {reasons}")
    if (gate.device, gate.precision, gate.runtime) != (f.device, f.precision, f.runtime):
        raise ReleaseError(f"release {release.id} passed on {gate.device} {gate.precision}, and runs on {f.device} {f.precision}; {again}")
    if f.runtime != runtime:
        raise ReleaseError(f"release {release.id} passed with {f.runtime}, here is {runtime}; {again} again, which makes a new release")
    active = store.active()
    baseline = store.baseline(f.recipe)
    held = None if baseline is None else baseline.id
    if gate.against != held and (active is None or active.id != release.id):
        against = gate.against or "no release"
        raise ReleaseError(f"release {release.id} passed against {against}, active is {held or 'none of its recipe'}; {again} again")


def _change(store: Store, release: Installed, past: list[Step], who: str, connect: Connect, *, back: bool) -> str:
    release.open()
    verb = "went back to" if back else "activated"
    with store.pointing(Step(id=release.id, utc=wall_utc(), by=who), past) as put:
        path = socket_path(store.data)
        if not _station_runs(path):
            put()
            return f"{verb} {release}; {NEXT_START}"
        with connect(path) as client:
            said = _Changeover(store, client, who).to(release, back=back)
        put()
    return f"{verb} {release}; {said}"


def _station_runs(path: Path) -> bool:
    """Whether a station listens. Raises LinkError for one that this user may not speak to: writing past it would be a lie."""
    try:
        require_station(path)
    except LinkError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            return False
        raise
    return True


class _Changeover:
    """One change of release on a running station."""

    def __init__(self, store: Store, client: LinkClient, who: str) -> None:
        self._store = store
        self._client = client
        self._who = who

    def to(self, release: Installed, *, back: bool) -> str:
        """Have the station load it, and wait until it says so; one line. Raises InspectorError; then the station was sent back."""
        f = release.file
        before = self._client.status()
        runs, wanted = (before.device, before.precision), (f.device, f.precision)
        if not back and before.release and runs != wanted:
            raise ReleaseError(
                f"the station runs on {' '.join(runs)}, release {release.id} passed on {' '.join(wanted)} only: set [detector] device = "
                f'"{f.asked_device}" and precision = "{f.asked_precision}" in station.toml and start the station again; nothing was changed'
            )
        self._ask(release)
        try:
            now = self._loaded(release, before)
            if now.release != release.id and not back:
                runs_as = f"{now.release}, on {now.device} {now.precision}"
                raise ReleaseError(f"the station made release {runs_as} of it: not what passed the gate")
        except InspectorError as error:
            if back:
                raise
            raise ReleaseError(f"{error}; {self._return()}") from error
        if now.release == release.id:
            return "the station has loaded it: start it when the line is clear, its canary runs first"
        return f"the station runs it on {now.device} {now.precision}, NOT as it was proven: put [detector] in station.toml right"

    def _ask(self, release: Installed) -> None:
        arguments = {"recipe": str(release.recipe_file), "bundle": str(release.bundle_folder)}
        self._client.command("activate", arguments, self._who)

    def _loaded(self, release: Installed, before: Status) -> Status:
        """The first status with another release than before, or this one. Raises ReleaseError when the station cannot load it."""
        until = time.monotonic() + LOADING_S
        while time.monotonic() < until:
            now = self._client.status()
            detector = next((h for h in now.health if h.name == "detector"), None)
            if now.release == release.id and (detector is None or detector.ok):
                return now
            if detector is not None and detector.ok and now.release != before.release:
                return now
            was = next((h.text for h in before.health if h.name == "detector"), None)
            if detector is not None and not detector.ok and detector.text not in (*_ON_THE_WAY, was):
                raise ReleaseError(f"the station cannot load release {release.id}: {detector.text}")
            time.sleep(_LOOK_S)
        raise ReleaseError(f"the station has not loaded release {release.id} within {LOADING_S:.0f} s")

    def _return(self) -> str:
        """Send the station back to what it ran; one line of how that went."""
        active = self._store.active()
        try:
            if active is None:
                self._client.command("activate", {}, self._who)
                return "the station was sent back to the product in station.toml, and the active release is unchanged"
            self._ask(active)
        except InspectorError as error:
            return f"the active release is unchanged in the store, but the station was not sent back to it ({error}): activate it again"
        return f"the station was sent back to {active.id}, and the active release is unchanged"
