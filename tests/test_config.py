"""station.toml: what is right is read as it stands; what is wrong is named with its key, its value and what would be right."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.config import (
    CanarySection,
    DirectLine,
    FolderCamera,
    ModbusLine,
    SimulatedCamera,
    StationConfig,
    TimingSection,
    data_folder,
)
from inspector.config_text import documentation
from inspector.errors import ConfigError

DOCS = Path(__file__).parent.parent / "docs"

Edit = Callable[[str, str], Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """The example with one passage replaced, beside a recipe and a folder of pictures."""

    def _edited(old: str, new: str) -> Path:
        text = (DOCS / "station.example.toml").read_text()
        assert text.count(old) == 1, old
        (tmp_path / "recipe.toml").touch()
        (tmp_path / "pictures").mkdir(exist_ok=True)
        path = tmp_path / "station.toml"
        path.write_text(text.replace(old, new))
        return path

    return _edited


@pytest.fixture
def example(edited: Edit) -> Path:
    return edited("[station]", "[station]")


def test_example_is_read_as_it_stands(example: Path) -> None:
    config = StationConfig.load(example)
    assert config.station.name == "cell 7"
    assert config.product.recipe == example.parent / "recipe.toml"
    assert config.product.bundle is None
    assert isinstance(config.camera, SimulatedCamera)
    assert (config.camera.frames, config.camera.width) == ("tcp://127.0.0.1:5560", 640)
    assert isinstance(config.line, ModbusLine)
    assert (config.line.host, config.line.port, config.line.unit_id, config.line.timeout_ms) == ("192.0.2.10", 502, 1, 50.0)
    assert config.limits.m_of_k == (30, 100)
    assert config.evidence.pass_share == 0.01
    assert len(config.sha256) == 64


def test_relative_paths_start_at_the_file_wherever_one_stands(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example.parent.parent)
    config = StationConfig.load(Path(example.parent.name) / example.name)
    assert config.product.recipe == example.parent / "recipe.toml"
    assert config.station.data == example.parent / "data"


def test_home_is_understood_in_paths(edited: Edit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert StationConfig.load(edited('data = "data"', 'data = "~/elsewhere"')).station.data == tmp_path / "elsewhere"


def test_configuration_is_not_changed_afterwards(example: Path) -> None:
    config = StationConfig.load(example)
    with pytest.raises(ValueError, match="frozen"):
        config.station.name = "other"


def test_other_drivers(edited: Edit) -> None:
    path = edited('driver = "modbus"\nhost = "192.0.2.10"\nport = 502', 'driver = "direct"')
    assert isinstance(StationConfig.load(path).line, DirectLine)
    camera = StationConfig.load(edited(SIMULATED, FOLDER)).camera
    assert isinstance(camera, FolderCamera)
    assert (camera.path.name, camera.path.is_absolute(), camera.rate_hz, camera.sixteen_bit) == ("pictures", True, 10.0, "refuse")


SIMULATED = 'driver = "simulated"\nframes = "tcp://127.0.0.1:5560"\ncontrol = "tcp://127.0.0.1:5561"'
FOLDER = 'driver = "folder"\npath = "pictures"\nrate_hz = 10'

MISTAKES = [
    (SIMULATED, FOLDER.replace("_hz", ""), r"camera\.rate = 10: there is no such key; did you mean rate_hz\?"),
    (SIMULATED, FOLDER + '\npixel = "rgb"', r"camera\.pixel = 'rgb': should be 'mono' or 'bgr' \(what frames are made of\)"),
    (SIMULATED, FOLDER.replace("pictures", "no such"), r"camera\.path = 'no such': should name a folder, and .*no such is none"),
    (SIMULATED, FOLDER.replace("pictures", "recipe.toml"), r"camera\.path = 'recipe\.toml': should name a folder"),
    ("tcp://127.0.0.1:5560", "127.0.0.1:5560", r"camera\.frames = '127\.0\.0\.1:5560': should match pattern"),
    ("gate_ms = 60", "gate_s = 60", r"timing\.gate_s = 60: there is no such key; did you mean gate_ms\?; 1 more: timing\.gate_ms"),
    ("gate_ms = 60", "", r"timing\.gate_ms: is missing; it says: time the gate needs to move in ms"),
    ("idle_s = 30", "idle_s = 30\ngate_ms = 3", r"canary\.gate_ms = 3: there is no such key; it belongs into \[timing\]"),
    ("idle_s = 30", "zzz = 30", r"canary\.zzz = 30: there is no such key; known are idle_s, every_s"),
    ("[limits]", "[limit]", r"limit = .*: there is no such key; did you mean limits\?"),
    ("width = 640", 'width = "640"', r"camera\.width = '640': should be a valid integer \(width of a frame in px"),
    ("width = 640", "width = 640.0", r"camera\.width = 640\.0: should be a valid integer"),
    ("width = 640", "width = true", r"camera\.width = True: should be a valid integer"),
    ("exposure_ms = 2", "exposure_ms = -2", r"timing\.exposure_ms = -2: should be greater than or equal to 0 \(longest exposure in ms\)"),
    ("exposure_ms = 2", "exposure_ms = nan", r"timing\.exposure_ms = nan: should be a finite number"),
    ("exposure_ms = 2", "exposure_ms = inf", r"timing\.exposure_ms = inf: should be a finite number"),
    ("every_s = 600", "every_s = 601", r"canary\.every_s = 601: should be less than or equal to 600"),
    ("pass_share = 0.01", "pass_share = 1.01", r"evidence\.pass_share = 1\.01: should be less than or equal to 1"),
    ("port = 502", "port = 70000", r"line\.port = 70000: should be less than or equal to 65535 \(the PLC's TCP port\)"),
    ('driver = "modbus"', 'driver = "opcua"', r"line\.driver = 'opcua': should be one of 'modbus', 'direct'"),
    ('driver = "modbus"\n', "", r"line\.driver: is missing; it is one of 'modbus', 'direct'"),
    ('recipe = "recipe.toml"', 'recipe = "pictures"', r"product\.recipe = 'pictures': should name a file"),
    ('recipe = "recipe.toml"', 'recipe = ""', r"product\.recipe = '': should be the path of a file"),
    ('recipe = "recipe.toml"', "recipe = 7", r"product\.recipe = 7: .*path"),
    ('recipe = "recipe.toml"', 'recipe = "recipe.toml"\nbundle = "none"', r"product\.bundle = 'none': should name a folder"),
    ('device = "CPU"', 'device = "AUTO"', r"detector\.device = 'AUTO': should name the device that runs"),
    ('device = "CPU"', 'device = "MULTI:CPU,GPU"', r"detector\.device = 'MULTI:CPU,GPU': should name the device"),
    ("m_of_k = [30, 100]", "m_of_k = [101, 100]", r"limits: m_of_k = \[101, 100\]: m should be at most k"),
    ("m_of_k = [30, 100]", "m_of_k = [30]", r"limits\.m_of_k\.1: is missing|limits\.m_of_k"),
    ("m_of_k = [30, 100]", 'm_of_k = ["3", 100]', r"limits\.m_of_k\.0 = '3': should be a valid integer"),
    ("gate_ms = 60", "gate_ms = 412", r"timing: gate_ms = 412 leaves no time: distance ÷ speed is 412\.0 ms"),
    ("gate_ms = 60", "gate_ms = 60\ndeadline_ms = 353", r"timing: deadline_ms = 353 is too late: distance ÷ speed less gate is 352\.0 ms"),
    ("exposure_ms = 2", "exposure_ms = 98", r"timing: exposure_ms = 98 should be less than smallest_spacing_ms = 98"),
    ('[station]\nname = "cell 7"\ndata = "data"', "station = 3", r"station = 3: should be a section, written \[station\]"),
    ('[station]\nname = "cell 7"\ndata = "data"', "", r"station: is missing; it says: Which station this is"),
    ('[station]\nname = "cell 7"\ndata = "data"', "[station", r"is not TOML: .*line 3"),
    ('name = "cell 7"', 'name = ""', r"station\.name = '': should have at least 1 character"),
    ('name = "cell 7"', 'name = "a"\nname = "b"', r"is not TOML: .*Cannot overwrite a value"),
]


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES, ids=[new or "left out: " + old for old, new, _ in MISTAKES])
def test_each_mistake_is_named_in_one_line(edited: Edit, old: str, new: str, told: str) -> None:
    path = edited(old, new)
    with pytest.raises(ConfigError, match=told) as caught:
        StationConfig.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read \(No such file"):
        StationConfig.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory"):
        StationConfig.load(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"name = \xff")
    with pytest.raises(ConfigError, match="is not UTF-8 at byte 7"):
        StationConfig.load(tmp_path / "binary.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(ConfigError, match="is not TOML"):
        StationConfig.load(tmp_path / "deep.toml")


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    path = Path(data_folder()) / "station.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with pytest.raises(ConfigError):
        StationConfig.load(path)


LENGTHS = st.floats(1, 5000)


@given(distance_mm=LENGTHS, speed_mm_s=LENGTHS, gate=st.floats(0, 0.9), spacing_ms=st.floats(1, 1000))
def test_derived_times_follow_from_the_belt(distance_mm: float, speed_mm_s: float, gate: float, spacing_ms: float) -> None:
    travel_ms = distance_mm / speed_mm_s * 1000
    timing = TimingSection(
        camera_to_gate_mm=distance_mm,
        belt_speed_mm_s=speed_mm_s,
        gate_ms=travel_ms * gate,
        exposure_ms=spacing_ms / 10,
        transfer_ms=3.0,
        smallest_spacing_ms=spacing_ms,
    )
    assert timing.send_deadline_ms == pytest.approx(travel_ms * (1 - gate))
    assert timing.frame_limit_ms == pytest.approx(spacing_ms * 0.6 + 3)
    given_times = timing.model_copy(update={"deadline_ms": 1.5, "frame_timeout_ms": 2.5})
    assert (given_times.send_deadline_ms, given_times.frame_limit_ms) == (1.5, 2.5)


def test_data_folder_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    option, named, configured = tmp_path / "option", tmp_path / "named", tmp_path / "configured"
    monkeypatch.setenv("INSPECTOR_DATA", str(named))
    assert data_folder(option, configured) == option
    assert data_folder(None, configured) == named
    monkeypatch.setenv("INSPECTOR_DATA", "")
    assert data_folder(None, configured) == configured
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "inspector"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/invalid")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_folder() == tmp_path / "home" / ".local" / "share" / "inspector"
    monkeypatch.chdir(tmp_path)
    assert data_folder(Path("option")) == option


def test_data_folder_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INSPECTOR_DATA", raising=False)
    monkeypatch.setattr("inspector.config.sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert data_folder() == tmp_path / "inspector"


def test_no_home_says_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("INSPECTOR_DATA", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigError, match="name one with --data"):
        data_folder()


def test_documentation_is_up_to_date() -> None:
    assert (DOCS / "configuration.md").read_text() == documentation(StationConfig), (
        "run: python -m inspector.config > docs/configuration.md"
    )


def test_documentation_says_something_of_every_key() -> None:
    rows = [line.split("|") for line in documentation(StationConfig).splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert all(len(meaning.strip()) > 5 and value.strip() for _, _, value, _, meaning, _ in rows)


def test_sections_may_be_made_without_a_file() -> None:
    assert CanarySection().every_s == 600
