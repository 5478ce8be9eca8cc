"""The canary of the DeepPCB bundles: a drawn board with one of each defect, near the middle.

Near the middle, so that the defects show in frames of any shape from 1:2 to 2:1 (see BundleCanary in inspector/bundle.py). No picture
of the data set is in it: its licence does not let it travel with the product.
"""

import cv2
import numpy as np

from inspector.types import Pixels

SIDE_PX = 640
GROUND, COPPER = 255, 0
_EDGE_NOISE = 40.0


def canary_picture() -> Pixels:
    """The board: uint8 (640, 640), black copper on white ground, edges as rough as a binarised scan's. The same every time."""
    board = _sound()
    _short(board)
    _open(board)
    _spur(board)
    _mousebite(board)
    _copper(board)
    _pin_hole(board)
    return _scanned(board, 7)


def canary_reference() -> Pixels:
    """How the same board should look: another part, so its edges are rough in other places."""
    return _scanned(_sound(), 8)


def _sound() -> Pixels:
    board = np.full((SIDE_PX, SIDE_PX), GROUND, np.uint8)
    for x in (60, 120, 210, 300, 390, 480, 570):
        cv2.line(board, (x, -20), (x, SIDE_PX + 20), COPPER, 26)
    for x, y in ((210, 80), (300, 560), (390, 90), (480, 540), (120, 320)):
        cv2.circle(board, (x, y), 38, COPPER, -1)
        cv2.circle(board, (x, y), 14, GROUND, -1)
    return board


def _short(board: Pixels) -> None:
    cv2.line(board, (222, 250), (288, 256), COPPER, 9)


def _open(board: Pixels) -> None:
    cv2.line(board, (280, 380), (320, 386), GROUND, 8)


def _spur(board: Pixels) -> None:
    cv2.fillPoly(board, [np.array(((402, 232), (420, 238), (417, 248), (402, 252)), np.int32)], COPPER)


def _mousebite(board: Pixels) -> None:
    cv2.fillPoly(board, [np.array(((405, 392), (392, 396), (393, 402), (405, 406)), np.int32)], GROUND)


def _copper(board: Pixels) -> None:
    cv2.ellipse(board, (435, 300), (5, 11), 40, 0, 360, COPPER, -1)


def _pin_hole(board: Pixels) -> None:
    cv2.ellipse(board, (210, 400), (7, 5), 30, 0, 360, GROUND, -1)


def _scanned(board: Pixels, seed: int) -> Pixels:
    """A lens's blur, a sensor's noise, a threshold: what the network was trained on."""
    noise = np.random.default_rng(seed).normal(0, _EDGE_NOISE, board.shape)
    light = cv2.GaussianBlur(board, (0, 0), 1.2).astype(np.float64) + cv2.GaussianBlur(noise, (0, 0), 1.0)
    return np.where(light > 127, GROUND, COPPER).astype(np.uint8)
