import struct
import zlib
from pathlib import Path

import pytest

from seq2seq.training.curves import draw_curves
from seq2seq.training.report import MetricsLog


def pixels(png: bytes) -> tuple[int, int, int]:
    """(width, height, number of distinct bytes of image data) of a PNG, by its specification."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += 12 + size
    return width, height, len(set(zlib.decompress(data)))


def draw(folder: Path, points: int, **valid: float) -> tuple[int, int, int]:
    log = MetricsLog(folder / "metrics.jsonl", tensorboard=None, step=0)
    for step in range(1, points + 1):
        log.write("train", step, loss=5 / step, learning_rate=1e-3, sample="\u2028")
        if valid and step % 2:
            log.write("valid", step, loss=4 / step, **valid)
    log.close()
    draw_curves(folder / "metrics.jsonl", folder / "curves.png")
    return pixels((folder / "curves.png").read_bytes())


def test_a_translation_run_has_three_panels(tmp_path: Path) -> None:
    width, height, colours = draw(tmp_path, 50, bleu=12.5, chrf=30.0)
    assert (width, height) == (1650, 440)
    assert colours > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "metrics.jsonl"]


def test_a_language_model_has_two(tmp_path: Path) -> None:
    assert draw(tmp_path, 4, perplexity=3.0)[:2] == (1100, 440)


@pytest.mark.parametrize("points", [0, 1])
def test_a_run_of_hardly_any_points(tmp_path: Path, points: int) -> None:
    width, height, colours = draw(tmp_path, points)
    assert (width, height) == (1100, 440)
    assert colours > 1


def test_more_points_change_the_picture(tmp_path: Path) -> None:
    pictures = []
    for points in (1, 30):
        (tmp_path / str(points)).mkdir()
        draw(tmp_path / str(points), points)
        pictures.append((tmp_path / str(points) / "curves.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_a_value_that_was_no_number_is_a_gap(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", tensorboard=None, step=0)
    log.write("train", 1, loss=float("nan"), learning_rate=1e-3)
    log.write("train", 2, loss=1.0, learning_rate=1e-3)
    log.close()
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert pixels((tmp_path / "curves.png").read_bytes())[2] > 1
