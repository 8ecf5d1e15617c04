import pytest

from seq2seq.data import progress
from seq2seq.data.progress import Progress


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    work = Progress("reading", "lines", fraction=lambda: None)
    work.advance(5)
    work.close()
    assert capsys.readouterr() == ("", "")


def test_long_work_tells_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    work = Progress("reading", "lines", fraction=lambda: 0.25)
    for _ in range(4):
        now[0] += 1
        work.advance(1000)
    work.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["reading: 2,000 lines, 1,000 lines/s, 25%, 6 s left", "reading: 4,000 lines in 4 s"]
