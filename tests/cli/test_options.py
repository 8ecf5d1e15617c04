import pytest

from seq2seq.cli.options import Parser, add_run_words


def parser() -> Parser:
    """A program with one command that takes the words of a run and options."""
    program = Parser(prog="program")
    command = program.add_subparsers(dest="command", required=True).add_parser("command")
    assert isinstance(command, Parser)
    add_run_words(command)
    command.add_argument("--json", action="store_true")
    command.add_argument("--price", type=float)
    return program


@pytest.mark.parametrize(
    "line",
    [
        "+recipe=a seed=-1 --json --price 2.5",
        "--json +recipe=a --price 2.5 seed=-1",
        "--price=2.5 +recipe=a seed=-1 --json",
    ],
)
def test_words_and_options_in_any_order(line: str) -> None:
    program = parser()
    for _ in range(2):  # a parser may be used again
        parsed = program.parse_args(["command", *line.split()])
        assert (parsed.overrides, parsed.json, parsed.price) == (["+recipe=a", "seed=-1"], True, 2.5)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("--jason a=1", "unrecognized arguments: --jason"), ("--json", "the following arguments are required: KEY=VALUE")],
)
def test_mistakes_are_one_sentence(line: str, sentence: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["command", *line.split()])
    assert end.value.code == 2
    error = capfd.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
