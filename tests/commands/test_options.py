"""The grammar that the commands and the cell magic share."""

import pytest

from hyperllama_nb.commands.options import (
    HelpShown,
    Parser,
    UsageError,
    add_keep_alive,
    add_load,
    add_model,
    add_prompt,
    add_sampling,
    options_from,
)


@pytest.fixture
def parser() -> Parser:
    parser = Parser("hyperllama generate", "Answer.")
    add_model(parser)
    add_prompt(parser, "the prompt")
    add_sampling(parser)
    add_keep_alive(parser)
    return parser


@pytest.mark.parametrize(
    ("line", "prompt", "options"),
    [
        (["m", "hi", "--temperature", "0"], "hi", {"temperature": 0.0}),
        (["--temperature=0.5", "m", "--top-k", "3", "hi"], "hi", {"temperature": 0.5, "top_k": 3}),
        (["m", "--num_predict", "5", "-"], "-", {"num_predict": 5}),
        (["m", "--", "--help"], "--help", {}),
        (["m"], None, {}),
        (["m", "--seed", "-1"], None, {"seed": -1}),
        (["m", "--backend", "fake"], None, {"backend": "fake"}),
        (["m", "--stop", "a", "--stop", "b c"], None, {"stop": ["a", "b c"]}),
        (
            ["m", "-o", "typical_p", "0.5", "-o", "word", "x", "-o", "flag", "true"],
            None,
            {"typical_p": 0.5, "word": "x", "flag": True},
        ),
    ],
)
def test_options_stand_anywhere_and_have_ollamas_names(parser, line, prompt, options):
    args = parser.parse(line)
    assert (args.model, args.prompt, options_from(args)) == ("m", prompt, options)


@pytest.mark.parametrize(
    ("text", "value"), [("5m", "5m"), ("30", 30.0), ("-1", -1.0), ("0", 0.0), ("-1m", "-1m")]
)
def test_keep_alive_is_a_number_of_seconds_or_a_duration(parser, text, value):
    assert parser.parse(["m", f"--keep-alive={text}"]).keep_alive == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "required: MODEL"),
        (["m", "--temprature", "0"], "did you mean --temperature? See"),
        (["m", "a", "b"], "'b'"),
        (["m", "--seed", "x"], "invalid int value: 'x'"),
        (["m", "--zzz"], "nknown option --zzz."),
    ],
)
def test_a_wrong_line_raises_one_sentence_and_the_next_step(parser, line, words):
    with pytest.raises(UsageError) as raised:
        parser.parse(line)
    assert words in str(raised.value)
    assert str(raised.value).endswith("See `hyperllama generate --help`.")
    assert raised.value.usage.startswith("usage: hyperllama generate")


def test_help_is_printed_and_does_not_end_the_process(parser, capsys):
    with pytest.raises(HelpShown):
        parser.parse(["--help"])
    assert "--temperature" in capsys.readouterr().out


def test_arguments_are_listed_as_they_are_written(parser):
    listed = dict(parser.arguments())
    assert "MODEL" in listed
    assert listed["--top-k K"]
    assert "-o, --option NAME VALUE" in listed
    assert not any("help" in written for written in listed)


def test_load_options_are_a_part_of_the_sampling_options():
    parser = Parser("hyperllama load")
    add_load(parser)
    given = options_from(parser.parse(["--num-ctx", "2048", "--backend", "fake"]))
    assert given == {"num_ctx": 2048, "backend": "fake"}
