import re

import pytest

from seq2seq import __version__
from seq2seq.cli.main import COMMANDS, main, translate


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    for command in (main, translate):
        with pytest.raises(SystemExit) as end:
            command(["--version"])
        assert end.value.code == 0
        assert capfd.readouterr().out == f"seq2seq {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: seq2seq {name}" in capfd.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(rf"^ +{name} ", capfd.readouterr().out, flags=re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["translat"], ["generate"]])
def test_mistakes_are_one_sentence(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert re.fullmatch(r"seq2seq[ a-z]*: error: .*; see seq2seq[ a-z]* --help\.\n", capfd.readouterr().err)
