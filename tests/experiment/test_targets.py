"""A `_target_` that names nothing is refused in one line, with its key and the nearest names."""

import pytest

from lth.experiment._targets import check_targets


def nested(target):
    return {"method": {"parts": [{"score": {"_target_": target, "_partial_": True}}]}}


@pytest.mark.parametrize(
    "target",
    ["lth.pruning.criteria.magnitude", "lth.datamodules.Digits", "lth.datamodules._augment.Augment.of", "json.dumps"],
)
def test_functions_classes_and_methods_are_found(target):
    check_targets(nested(target))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lth.pruning.criteria.magnitud", "lth.pruning.criteria has no magnitud; did you mean magnitude"),
        ("lth.pruning.criterias.magnitude", "lth.pruning has no criterias; did you mean criteria"),
        ("no_such_module.magnitude", "there is no module no_such_module"),
        ("json.dumps.of", "json.dumps has no of"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_its_key(target, message):
    with pytest.raises(ValueError, match="method.parts.0.score._target_=" + target + ": " + message):
        check_targets(nested(target))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_library", "cannot be imported: No module named 'no_such_library'"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_fails_says_why(source, message, tmp_path, monkeypatch):
    (tmp_path / "broken_module_of_a_user.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"broken_module_of_a_user {message}"):
        check_targets(nested("broken_module_of_a_user.score"))
