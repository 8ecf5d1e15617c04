import time
from types import SimpleNamespace

import pytest

from seq2seq.answering import Answer, Candidate
from seq2seq.cli.answers import Report


def test_time_left_goes_by_characters_because_a_line_may_be_as_long_as_a_thousand(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start)
    report = Report("seq2seq translate", SimpleNamespace(share=0.5, characters_read=1000), quiet=False)  # type: ignore[arg-type]
    monkeypatch.setattr(time, "monotonic", lambda: start + 10)
    report.add(Answer("x" * 249, (Candidate("y", 0.0, 0.0, 30),), ()))
    # 250 of the 1,000 characters read, which are half of the input: an eighth in 10 seconds
    assert "1 line, 0.1 lines/s, 3 output tokens/s, about 1 min 10 s left" in capfd.readouterr().err
