"""`lth help`: every option has a purpose and every key a meaning, in the comments of `conf/`, and both are printed."""

import subprocess
import sys

import pytest
import yaml

import lth.cli._comments
from lth.cli._comments import group_purpose, groups, keys_of, meaning, options, purpose
from lth.cli._help import explain, main
from lth.cli._value_tables import lines
from tests.support.harness import CONF


@pytest.mark.slow
@pytest.mark.parametrize("line", list(lines()), ids=lambda line: line.key)
def test_every_key_has_a_meaning_that_help_prints(line):
    means = meaning(line.group, line.name)
    assert len(means) > 3
    shown = " ".join((explain(line.key, 10_000) or "").split())
    assert all(" ".join(valid.says.split()) in shown for valid in line.valid.values())


@pytest.mark.parametrize("group", groups())
def test_every_group_has_a_purpose_and_lists_its_options_with_theirs(group: str):
    assert group_purpose(group)
    text = explain(group, 200)
    assert text is not None
    if group != "experiment":
        assert all(f"  {option} " in text for option in options(group))
        assert all(purpose(CONF / group / f"{option}.yaml") for option in options(group))


def test_the_groups_and_the_keys_of_the_run_fit_a_screen_and_no_line_is_wider():
    text = explain("", 100)
    assert text is not None
    assert len(text.splitlines()) <= 50
    assert max(map(len, text.splitlines())) <= 100
    assert all(f"  {name}=" in text for name in ("method", "model", "dataset", "hydra/launcher"))


@pytest.mark.parametrize("width", [60, 100, 160])
def test_no_line_is_wider_than_the_terminal(width: int):
    for about in (
        "",
        "method",
        "model",
        "recipe.accumulate",
        "method.every",
        "experiment=own",
        "method/criterion=snip",
    ):
        text = explain(about, width)
        assert text is not None
        assert max(map(len, text.splitlines())) <= max(width, 80), about


@pytest.mark.slow
@pytest.mark.parametrize("group", ["method", "recipe", "dataset", "sparsity", "support", "trainer", "treatment"])
def test_an_option_prints_its_own_keys_first_with_values_and_what_is_valid(group: str):
    for option in options(group)[::4]:
        text = explain(f"{group}={option}", 120)
        assert text is not None
        own = [key for key in keys_of(CONF / group / f"{option}.yaml") if key in _plain(group, option)]
        printed = [line.strip().partition("=")[0] for line in text.splitlines() if line.startswith(f"  {group}.")]
        assert [f"{group}.{key}" for key in own] == printed[: len(own)], option


def _plain(group: str, option: str) -> set[str]:
    """Keys of a file, not within others, that hold a value and that the table of the group has."""
    content = yaml.safe_load((CONF / group / f"{option}.yaml").read_text()) or {}
    known = {line.name for line in lines() if line.group == group}
    return {key for key, value in content.items() if not isinstance(value, dict) and key in known}


def test_a_key_that_means_different_things_shows_all_of_them():
    text = explain("method.every", 200)
    assert text is not None
    assert text.count("meaning  ") > 1
    assert "2% in method/rigl" in text


def test_a_part_shows_its_keys():
    text = explain("method/criterion=snip", 200)
    assert text is not None
    assert "method.criterion.samples_per_class=10" in text


def test_a_recipe_shows_what_was_published():
    first = next(name for name in options("experiment") if not name.startswith("own/"))
    text = explain(f"experiment={first}", 100)
    assert text is not None
    assert "confidence" in text


def test_a_recipe_shows_each_difference_in_a_line_and_none_that_it_takes_away():
    texts = [explain(f"experiment=granet/resnet50_imagenet_{name}", 200) or "" for name in ("granet", "gmp")]
    assert [text.count("\n  differs ") for text in texts] == [2, 0]
    assert "{" not in "".join(texts)


@pytest.mark.parametrize(
    ("mistake", "near"),
    [("metod", "did you mean method"), ("method=rigel", "method=rigl"), ("recipe.acumulate", "recipe.accumulate")],
)
def test_what_there_is_not_is_refused_in_one_line_with_the_nearest(mistake: str, near: str):
    with pytest.raises(SystemExit, match=near) as caught:
        main([mistake])
    assert "\n" not in str(caught.value)


def test_options_of_ones_own_are_listed_and_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lth.cli._comments.FOLDERS", [CONF])
    monkeypatch.setattr("lth.cli._help.FOLDERS", lth.cli._comments.FOLDERS)
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("# A ladder of mine\ndefaults: [imp]\nrewind: 7it # mine too\n")
    main(["method", "--config-dir", str(tmp_path)])
    main(["method=mine"])
    printed = " ".join(capsys.readouterr().out.split())
    assert " mine A ladder of mine" in printed
    assert "method=mine: A ladder of mine method.rewind=7it mine too" in printed
    (tmp_path / "method" / "criterion").mkdir()
    own = "# Mine\n_target_: mine.score\npower: 2.0 # exponent\n"
    (tmp_path / "method" / "criterion" / "own.yaml").write_text(own)
    main(["method/criterion=own"])
    assert "method.criterion.power=2.0 exponent" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit, match="--config-dir nowhere: there is no such folder"):
        main(["--config-dir", "nowhere", "method"])


@pytest.mark.slow
def test_help_imports_neither_torch_nor_lightning():
    code = "import sys; from lth.cli.main import main; main(['help', 'method=rigl']);"
    code += " assert not {'torch', 'pytorch_lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
