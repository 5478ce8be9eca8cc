"""The report is one file that needs nothing else, says every figure, and shows the cases that matter."""

import base64
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pytest

from inspector.bundle import InputKind
from inspector.detect.scripted import Answer, ScriptedDetector
from inspector.errors import InspectorError
from inspector.recipe import parse
from inspector.types import Box, Detection, Pixels
from models.dataset import Split, Truth, open_split
from models.evaluate import Evaluation, Release, evaluate
from models.looking import Looker, Seen
from models.metrics import Looked, box_figures
from models.part_level import Part, PartKind
from models.report import report_html, write_report
from models.report_pictures import crop_png, worst_false_calls, worst_misses
from models.report_svg import confusion_svg, curves_svg

RECIPE = parse(
    {
        "name": "r",
        "frame": {"width": 300, "height": 200},
        "presence": {"method": "off", "why": "for tests"},
        "classes": {"a": {"limit": 0.5}, "b": {"limit": 0.5}},
    },
    folder=Path(),
)
TRUTHS = (Truth("a", Box(10, 10, 30, 30)), Truth("b", Box(250, 150, 290, 195)))
PARTS = [
    Part(PartKind.DEFECTIVE, "x", Seen((Detection("a", 0.4, TRUTHS[0].box), Detection("b", 0.9, Box(100, 100, 120, 120)))), TRUTHS),
    Part(PartKind.DEFECTIVE, "y", Seen((Detection("a", 0.8, TRUTHS[0].box),)), TRUTHS[:1]),
    Part(PartKind.GOOD, "x", Seen((Detection("a", 0.95, Box(0, 0, 20, 20)), Detection("a", 0.3, Box(50, 50, 60, 60))))),
    Part(PartKind.SINGLE, "x", Seen(), TRUTHS[:1]),
]


def _decode(address: str) -> Pixels:
    head, code = address.split(",")
    assert head == "data:image/png;base64"
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def test_the_worst_come_first() -> None:
    misses = worst_misses(PARTS, RECIPE)
    assert [(c.part.name, c.defect_class, c.score) for c in misses] == [("x", "b", 0.0), ("x", "a", 0.4)]
    calls = worst_false_calls(PARTS, RECIPE)
    assert [(c.part.kind, c.score) for c in calls] == [(PartKind.GOOD, 0.95), (PartKind.DEFECTIVE, 0.9)]
    assert worst_misses(PARTS, RECIPE, most=1) == misses[:1]


@pytest.mark.parametrize("colour", [False, True])
def test_a_crop_shows_the_place_and_the_boxes(colour: bool) -> None:
    pixels = np.zeros((200, 300, 3) if colour else (200, 300), np.uint8)
    miss = worst_misses(PARTS, RECIPE)[0]
    shown = _decode(crop_png(pixels, miss, [Box(255, 160, 285, 190)]))
    assert shown.shape == (192, 192, 3)
    green, red = (60, 160, 40), (40, 40, 198)
    # The window is 128 px wide, at the lower right corner of the picture, shown 1.5 times as large.
    assert tuple(shown[round((170 - 72) * 1.5), round((250 - 172) * 1.5)]) == green
    assert tuple(shown[round((170 - 72) * 1.5), round((255 - 172) * 1.5)]) == red
    assert not np.all(shown == green, axis=2)[0].any()


def test_a_picture_smaller_than_the_window() -> None:
    case = replace(worst_misses(PARTS, RECIPE)[1], box=Box(0, 0, 20, 20))
    assert _decode(crop_png(np.full((40, 50), 90, np.uint8), case, [])).shape == (192, 192, 3)


def test_curves_are_well_formed_and_say_the_figures() -> None:
    f = box_figures([Looked(p.name, p.seen.detections, p.truths) for p in PARTS[:2]], ("a", "b"))
    svg = ET.fromstring(curves_svg({"<a>": f.curves["a"], "b": f.curves["b"]}, f.pooled))
    texts = [t.text for t in svg.iter("text")]
    assert f"<a>, best F {100 * f.curves['a'].best_f:.1f}" in texts
    assert f"all classes, best F {100 * f.f33:.1f}" in texts
    lines = list(svg.iter("polyline"))
    assert len(lines) == 3
    # The first box of a is right: precision 1 at recall 1/2 stands in the upper middle.
    assert lines[0].attrib["points"].startswith("210.0,46.0")
    assert lines[1].attrib["points"].split()[-1].split(",")[0] == "46.0"


def test_confusion_is_well_formed_and_holds_every_count() -> None:
    counts = np.array([[7, 2, 1], [0, 5, 0], [3, 4, 0]])
    svg = ET.fromstring(confusion_svg(counts, ("a&b", "c")))
    assert "a&b" in [t.text for t in svg.iter("text")]
    numbers = [t.text for t in svg.iter("text") if t.text and t.text.isdigit()]
    assert numbers == ["7", "2", "1", "0", "5", "0", "3", "4"]


COMMAND = "inspector model evaluate '<boards & co>' --html report.html"
Measured = tuple[Evaluation, Split, Looker]


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """Two boards; the detector misses the defect of one, and calls a good place of every picture."""
    folder = tmp_path / "boards"
    rng = np.random.default_rng(0)
    for k in range(2):
        good = rng.integers(40, 60, (200, 300), dtype=np.uint8)
        defective = good.copy()
        defective[12:28, 12:28] = 250 - 60 * k
        for kind, pixels in (("good", good), ("defective", defective)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f"<{k}>.png"), pixels)
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"<{k}>.txt").write_text(f"0 {20 / 300} {20 / 200} {20 / 300} {20 / 200}")

    def script(_count: int, pixels: Pixels) -> Answer:
        found = [Detection("b", 0.6, Box(200, 100, 220, 120))]
        return Answer((*found, Detection("a", 0.9, Box(10, 10, 30, 30))) if pixels[20, 20] > 220 else tuple(found))

    looker = Looker(RECIPE, ScriptedDetector(script, height=200, width=300, classes=("a", "b")), InputKind.MONO)
    split = open_split(folder)
    return evaluate(split, looker, Release("my <bundle>", "0" * 64, "r", RECIPE.revision, "off")), split, looker


def test_the_page_needs_nothing_else_and_says_every_figure(measured: Measured) -> None:
    page = report_html(*measured, COMMAND)
    assert "http" not in page
    assert "<script" not in page
    assert "<link" not in page
    assert page.count("<img") == page.count('src="data:image/png;base64,')
    assert escape(COMMAND) in page
    assert "my <bundle>" not in page
    assert escape("my <bundle>") in page
    for heading in ("Parts", "One limit for all classes", "Boxes", "Worst misses", "Worst false calls"):
        assert f"<h2>{heading}</h2>" in page
    d = measured[0].document()
    for figure in ("ap33_pooled", "map33", "map50", "map5095", "f33"):
        assert f"{d[figure]:.2f}" in page
    assert f"at most {d['bounds']['overkills']['upper95_pct']:.2f} %" in page
    assert f"at least {d['bounds']['single_defect_rejected']['lower95_pct']:.2f} %" in page
    assert page.count("<figcaption>") == 1 + 6  # the one miss; the false call on defective, good and disturbed boards
    assert ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6]).tag == "svg"


def test_a_report_is_written_whole_or_not_at_all(measured: Measured, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, *measured, COMMAND)
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    path.unlink()
    path.mkdir()
    with pytest.raises(InspectorError, match=r"report\.html: the report cannot be written"):
        write_report(path, *measured, COMMAND)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(InspectorError, match="cannot be written"):
        write_report(Path("/dev/null/report.html"), *measured, COMMAND)


def test_no_case_is_said_to_be_none(measured: Measured) -> None:
    result, split, looker = measured
    page = report_html(replace(result, parts=()), split, looker, COMMAND)
    assert page.count("<p>None.</p>") == 2
