"""station.toml becomes a station: which driver, which times, and what is refused before anything is made."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector import build
from inspector.build import DetectorChoice, prepare_product, preparer
from inspector.bundle import Bundle, InputKind, find_default_bundle
from inspector.camera.folder import FolderCamera
from inspector.camera.rendered import RenderedCamera
from inspector.checks import verify_canary
from inspector.config import StationConfig
from inspector.detect.tiles import TiledDetector, tiles_for
from inspector.errors import ConfigError, RecipeError
from inspector.line.direct import DirectLine
from inspector.line.modbus import ModbusLine
from inspector.recipe import load
from inspector.sim.boards import Product
from inspector.sim.demo_files import DemoWiring, write_demo_files
from inspector.timing import Measured
from inspector.trace import SqliteArchive
from inspector.types import StationState

Write = Callable[..., StationConfig]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The demo's station.toml, loaded: sections (keys and values of `sections`) replaced, `more` behind the last one, [timing]."""

    def make(more: str = "", **sections: str) -> StationConfig:
        toml = write_demo_files(tmp_path, Product(0), DemoWiring(1502, "ipc:///nowhere/f", "ipc:///nowhere/c"), 120)
        text = toml.read_text()
        for name, content in sections.items():
            text, found = re.subn(rf"\[{name}\]\n(?:(?:[^\[\n].*)?\n)*", f"[{name}]\n{content}\n\n", text)
            assert found == 1
        toml.write_text(text + more)
        return StationConfig.load(toml)

    return make


DIRECT = 'driver = "direct"'


def folder_camera(path: Path, width: int = 640) -> str:
    return f'driver = "folder"\npath = "{path}"\nwidth = {width}\nheight = 640'


def recipe(tmp_path: Path) -> Path:
    write_demo_files(tmp_path, Product(0), DemoWiring(1502, "ipc:///f", "ipc:///c"), 120)
    return tmp_path / "boards.toml"


def test_drivers_are_those_that_are_named(write: Write, tmp_path: Path) -> None:
    config = write()
    assert isinstance(build.camera(config), RenderedCamera)
    assert isinstance(build.line(config), ModbusLine)
    config = write(camera=folder_camera(tmp_path), line=DIRECT)
    assert isinstance(build.line(config), DirectLine)
    assert isinstance(build.camera(config), FolderCamera)


def test_settings_are_the_times_of_the_file(write: Write, tmp_path: Path) -> None:
    config = write(more="deadline_ms = 900\nframe_timeout_ms = 111\n[limits]\nrejects_in_row = 7\nfaults_in_row = 4\nm_of_k = [3, 9]\n")
    settings = build.settings(config, tmp_path)
    assert (settings.deadline_ms, settings.frame_ms) == (900, 111)
    assert settings.pairing_ms == pytest.approx(config.timing.smallest_spacing_ms / 2)
    assert (settings.stops.rejects_in_row, settings.stops.faults_in_row, settings.stops.m_of_k) == (7, 4, (3, 9))
    assert settings.detector_ms == 900, "the deadline alone ends an inference"
    assert settings.lot == "demo"
    assert build.settings(write(more="[detector]\ntimeout_ms = 70\n"), tmp_path).detector_ms == 70


def test_verdicts_go_out_by_the_round_trip_as_it_was_measured(write: Write, tmp_path: Path) -> None:
    config = write(more="deadline_ms = 50\n")
    assert build.settings(config, tmp_path).answer_ms == 10.0, "generous before anything was measured"

    def measured(line_p999_ms: float) -> None:
        Measured(5.0, line_p999_ms, "2026-01-31T12:00:00Z", "ab" * 32, "CPU", "int8", 640, 640).save(tmp_path)

    measured(2.5)
    assert build.settings(config, tmp_path).answer_ms == 2.5
    measured(400.0)
    assert build.settings(config, tmp_path).answer_ms == 25.0, "half of the deadline at most, or no verdict is ever in time"


def test_a_folder_or_a_direct_line_cannot_be_run_and_nothing_is_made(write: Write, tmp_path: Path) -> None:
    data = tmp_path / "data"
    direct = write(line=DIRECT)
    with pytest.raises(ConfigError, match="no photo-eye"):
        build.build(direct, data)
    folder = write(camera=folder_camera(tmp_path))
    with pytest.raises(ConfigError, match="cannot be triggered"):
        build.build(folder, data)
    assert not data.exists()


def test_a_station_is_built_without_touching_camera_or_plc(write: Write, tmp_path: Path) -> None:
    station = build.build(write(), tmp_path / "data")
    assert station.run == 1
    assert station.status().state is StationState.STOPPED
    assert station.status().balances.triggers == 0
    station.stop()
    assert station.problem_at_end is None


def test_when_a_driver_cannot_be_made_the_archive_is_let_go(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: StationConfig) -> None:
        raise ConfigError("no such driver")

    monkeypatch.setattr(build, "line", broken)
    with pytest.raises(ConfigError, match="no such driver"):
        build.build(write(), tmp_path / "data")
    SqliteArchive(tmp_path / "data").close()  # raises while another one holds it


def test_activate_takes_a_recipe_and_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    prepare = preparer(recipe(tmp_path), None, DetectorChoice())
    with pytest.raises(ConfigError, match=r"does not know limit; it takes recipe=FILE and bundle=FOLDER"):
        prepare({"limit": "0.9"})
    assert prepare({}).recipe.name == "rendered board 0"
    other = tmp_path / "other.toml"
    other.write_text((tmp_path / "boards.toml").read_text().replace("rendered board 0", "another"))
    assert prepare({"recipe": str(other)}).recipe.name == "another"
    assert prepare({}).recipe.name == "rendered board 0", "activate changes nothing for the next one"


def test_a_product_is_verified_before_anything_is_compiled(tmp_path: Path) -> None:
    product = prepare_product(recipe(tmp_path), None, DetectorChoice())
    assert product.channels == 1
    assert product.canary.pixels.shape == (640, 640)
    assert product.canary.expected, "a canary that expects nothing proves nothing"


def test_a_region_gives_the_detector_and_its_canary_the_size_of_the_region(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    path.write_text("region = [0, 0, 640, 320]\n" + path.read_text())
    assert prepare_product(path, None, DetectorChoice()).canary.pixels.shape == (320, 640)


def large(path: Path, tiles: str = "\n[tiles]\nlargest_px = 60\n") -> Path:
    """The recipe for frames of 5 megapixels."""
    text = path.read_text()
    assert "width = 640, height = 640" in text
    path.write_text(text.replace("width = 640, height = 640", "width = 2448, height = 2048") + tiles)
    return path


def test_a_recipe_with_tiles_looks_at_a_large_frame_in_tiles(tmp_path: Path) -> None:
    product = prepare_product(large(recipe(tmp_path)), None, DetectorChoice())
    assert product.canary.pixels.shape == (2048, 2448)
    assert product.canary.expected[0].box.x1 > 2448 - 640, "not scaled down: in the last tile"
    detector = product.open_detector()
    try:
        assert isinstance(detector, TiledDetector)
        detector.start(product.canary.pixels)
        assert detector.wait(30)
        assert verify_canary(product.canary, detector.result()) is None
    finally:
        detector.close()


def test_without_tiles_a_large_frame_is_scaled_down_as_ever(tmp_path: Path) -> None:
    product = prepare_product(large(recipe(tmp_path), tiles=""), None, DetectorChoice())
    assert product.canary.pixels.shape == (2048, 2448)
    assert min(d.box.x2 - d.box.x1 for d in product.canary.expected) > 60


def test_tiles_are_not_used_where_the_region_fits_into_the_network(tmp_path: Path) -> None:
    path = large(recipe(tmp_path))
    path.write_text("region = [100, 100, 740, 740]\n" + path.read_text())
    assert prepare_product(path, None, DetectorChoice()).canary.pixels.shape == (640, 640)
    assert tiles_for(load(path), Bundle.open(find_default_bundle())) is None


def test_defects_larger_than_a_tile_are_refused(tmp_path: Path) -> None:
    path = large(recipe(tmp_path), "\n[tiles]\nlargest_px = 640\n")
    with pytest.raises(RecipeError, match=r"tiles\.largest_px: 640 px"):
        prepare_product(path, None, DetectorChoice())


def test_verify_counts_the_tiles(write: Write, tmp_path: Path) -> None:
    config = write()
    large(tmp_path / "boards.toml")
    told = {finding.what: finding.text for finding in build.verify(config)}
    assert told["tiles"] == "20 tiles of 640x640"
    assert "2448x2048" in told["frame size"]


def test_an_unknown_precision_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int3"):
        prepare_product(recipe(tmp_path), None, DetectorChoice(precision="int3"))


def test_a_recipe_for_other_classes_is_refused(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    path.write_text(path.read_text().replace("mousebite =", "dent ="))
    with pytest.raises(RecipeError, match="dent"):
        prepare_product(path, None, DetectorChoice())


def test_a_bundle_that_needs_a_reference_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bundle, "input", InputKind.MONO_REFERENCE)
    with pytest.raises(RecipeError, match=r"looks at a reference and the recipe has none; add reference"):
        prepare_product(recipe(tmp_path), None, DetectorChoice())


def test_verify_looks_at_recipe_bundle_presence_frame_and_pairing(write: Write) -> None:
    findings = build.verify(write())
    assert [finding.what for finding in findings] == ["recipe", "bundle", "presence", "pairing"]
    assert all(finding.ok for finding in findings)


def test_verify_names_a_camera_of_another_size(write: Write, tmp_path: Path) -> None:
    findings = build.verify(write(camera=folder_camera(tmp_path, width=1280), line=DIRECT))
    wrong = [finding for finding in findings if not finding.ok]
    assert [finding.what for finding in wrong] == ["frame size", "pairing"]
    assert "1280x640" in wrong[0].text
    assert "640x640" in wrong[0].text


def test_verify_names_what_cannot_be_paired(write: Write) -> None:
    findings = build.verify(write(line=DIRECT))
    assert [finding.what for finding in findings if not finding.ok] == ["pairing"]


def test_verify_says_of_a_bad_recipe_what_is_wrong_with_it(write: Write, tmp_path: Path) -> None:
    config = write()
    (tmp_path / "boards.toml").write_text("name = 1\n")
    findings = build.verify(config)
    assert not findings[-1].ok
    assert "boards.toml" in findings[-1].text
