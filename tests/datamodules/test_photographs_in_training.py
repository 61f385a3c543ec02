"""Complete experiments on photographs: IMP with FFCV, killed and resumed; Tiny-ImageNet from its archive."""

import hashlib

import pytest

from lth.datamodules import TinyImageNet
from tests.support import photographs
from tests.support.harness import _plant, forks, train
from tests.support.left import rows, state

SMALL = (
    "recipe.epochs=2",
    "recipe.batch_size=20",
    "recipe.lr=0.05",
    "dataset.classes=3",
    "dataset.val_size=9",
    "model=resnet20",
    "sparsity=list",
    "sparsity.densities=[0.5]",
    "trainer=cpu",
    "threads=1",
    "checkpoint_seconds=0",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """60 training and 18 test photographs of 3 classes, as folders and as .beton files."""
    pytest.importorskip("ffcv", reason="FFCV is not installed: make ffcv")
    from lth.datamodules.ffcv.write_beton import main

    root = photographs.imagenet(tmp_path_factory.mktemp("imagenet"))
    main([str(root), "--workers", "1"])
    return root


def through(root, loader, workers):
    sizes = "dataset.image_size=24", "recipe.augment.sizes=[[0,16],[1,24]]", "dataset.eval_batch_size=10"
    return (
        "dataset=imagenet",
        f"dataset.root={root}",
        f"dataset.loader={loader}",
        f"dataset.workers={workers}",
        "recipe.augment.scale=[0.5,1.0]",
        *sizes,
        *SMALL,
    )


def _killed(folder, overrides):
    _plant("step", 8)  # the second step of the second level
    train(folder, *overrides, small=False)


@pytest.mark.engine
def test_imp_through_ffcv_learns_and_ends_alike_when_killed_and_resumed(root, tmp_path):
    overrides = through(root, "ffcv", 1)
    train(tmp_path / "whole", *overrides, small=False)
    table = rows(tmp_path / "whole")
    assert [float(row["density"]) for row in table] == [1.0, pytest.approx(0.5, abs=1e-3)]
    assert all(float(row["epochs"]) == 2 for row in table)
    assert float(table[-1]["train_loss"]) < 0.8 < float(table[0]["train_loss"]) < 1.1  # chance is ln 3 = 1.0986
    apart = forks().Process(target=_killed, args=(tmp_path / "killed", overrides))
    apart.start()
    apart.join()
    assert apart.exitcode == -9
    assert len(list((tmp_path / "killed").glob("level_*"))) == 2
    train(tmp_path / "killed", *overrides, small=False)
    assert state(tmp_path / "killed") == state(tmp_path / "whole")


@pytest.mark.engine
def test_the_torchvision_loader_trains_to_nearly_the_same_loss(root, tmp_path):
    for loader, workers in (("ffcv", 1), ("torchvision", 0)):
        train(tmp_path / loader, *through(root, loader, workers), small=False)
    one, other = (rows(tmp_path / loader)[0] for loader in ("ffcv", "torchvision"))
    assert float(one["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=0.1)


@pytest.mark.engine
@pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
def test_criteria_see_photographs(root, tmp_path, method):
    chosen = (*through(root, "ffcv", 1), f"method={method}", "recipe.epochs=1")
    train(tmp_path, *[each for each in chosen if "densities" not in each], "sparsity=one_shot", small=False)
    assert float(rows(tmp_path)[-1]["density"]) < 1


@pytest.mark.slow
def test_tiny_imagenet_goes_from_its_archive_to_a_table(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    archive = photographs.tiny_imagenet_zip(tmp_path / "data" / "tiny-imagenet-200.zip", train=20)
    monkeypatch.setattr(TinyImageNet, "md5", hashlib.md5(archive.read_bytes()).hexdigest())
    chosen = "dataset=tiny_imagenet", f"dataset.root={tmp_path / 'data'}", "dataset.image_size=32"
    train(tmp_path / "run", *chosen, *SMALL, small=False)
    assert len(rows(tmp_path / "run")) == 2
