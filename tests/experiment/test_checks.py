"""What is refused before an experiment has a folder: trainer, optimizer, network outputs, batches of one sample."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lth.datamodules.scoring import ScoringData
from lth.experiment.build import Experiment
from lth.pruning.masks import fingerprint
from lth.storage.folder import RunFolder
from lth.tickets import Ticket
from tests.support.harness import a_ticket, configuration


class Odd(nn.Module):
    """A perceptron of one layer with batch norm whose outputs are changed by `change(output, training)`."""

    def __init__(self, change=None, classes=4, channels=1, image_size=8, dtype=torch.float32, **_):
        super().__init__()
        self.fc, self.norm = nn.Linear(channels * image_size**2, classes), nn.BatchNorm1d(classes)
        self.change = change
        self.to(dtype)

    def forward(self, x):
        output = self.norm(self.fc(x.flatten(1)))
        return self.change(output, self.training) if self.change else output


def gives_a_tuple_in_training(**options):
    return Odd(lambda output, training: (output, output) if training else output, **options)


def gives_a_dict(**options):
    return Odd(lambda output, _: {"logits": output}, **options)


def squeezes(**options):
    return Odd(lambda output, _: output.squeeze(0), **options)


def more_classes(**options):
    return Odd(**{**options, "classes": 10})


def half(**options):
    return Odd(**options, dtype=torch.float16)


def other_images(**options):
    return Odd(**{**options, "channels": 3})


def lazy(**options):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(options["classes"]))


def plain(**options):
    return Odd(**options)


def drops(**options):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, options["classes"]))


def built(tmp_path: Path, *overrides: str) -> Experiment:
    return Experiment(configuration(tmp_path / "run", *overrides), RunFolder(tmp_path / "run"))


def refused(tmp_path: Path, match: str, *overrides: str) -> None:
    with pytest.raises(ValueError, match=match) as error:
        built(tmp_path, *overrides)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("gives_a_tuple_in_training", "gives a tuple in training; it must give the logits alone"),
        ("gives_a_dict", "gives a dict in training"),
        ("squeezes", r"gives \(4,\) in evaluation for 1 images, not \(1, 4\)"),
        ("more_classes", r"gives \(2, 10\) in training for 2 images, not \(2, 4\).*dataset\.classes"),
        ("half", r"fc\.weight of Odd is torch\.float16.*recipe\.precision=bf16-mixed"),
        ("other_images", r"Odd fails in training on 2 images of shape \(1, 8, 8\).*dataset\.channels"),
        ("lazy", r"1\.weight of Sequential has no shape before its first batch"),
    ],
)
def test_a_network_that_gives_no_logits_is_refused(network, message, tmp_path):
    refused(tmp_path, f"^model: .*{message}", f"model._target_={__name__}.{network}")


@pytest.mark.slow
def test_a_network_is_left_as_it_was(tmp_path):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    experiment = built(tmp_path, f"model._target_={__name__}.drops")
    assert torch.equal(torch.random.get_rng_state(), before)
    drawn = experiment.draw(0)
    assert fingerprint(experiment.net.state_dict()) == fingerprint(drawn.state_dict())
    assert experiment.net.training


def one_left(*overrides: str) -> tuple[str, ...]:
    """81 training samples in batches of 20."""
    return (f"model._target_={__name__}.plain", "dataset.train_size=101", "dataset.val_size=20", *overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), r"^recipe\.batch_size=20: the last batch of .* 81 .* has one sample, .*dataset\.drop_last=true"),
        (("dataset.train_size=102", "trainer=ddp_cpu"), "has one sample on one of the 2 ranks"),
        (("recipe.batch_size=1",), r"^recipe\.batch_size=1: a batch .* has one sample"),
    ],
)
def test_batch_norm_and_a_batch_of_one_sample_is_refused(overrides, message, tmp_path):
    refused(tmp_path, message, *one_left(*overrides))


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("dataset.drop_last=true",),
        ("trainer.limit_train_batches=4",),
        ("model._target_=lth.networks.mlp",),  # without batch norm
        ("dataset.train_size=102",),
        ("trainer=ddp_cpu",),  # one sample for two ranks is left out
    ],
)
def test_other_last_batches_are_trained(overrides, tmp_path):
    built(tmp_path, *one_left(*overrides))


@pytest.mark.slow
def test_a_criterion_reads_no_incomplete_batch_that_training_leaves_out(tmp_path):
    for dropped, sizes in ((False, [20] * 4 + [1]), (True, [20] * 4)):
        experiment = built(tmp_path, *one_left("dataset.drop_last=true"))
        experiment.data.sampling = type(experiment.data.sampling)(batch_size=20, drop_last=dropped)
        scoring = ScoringData(experiment.data, 0, 0, "cpu")
        assert [len(labels) for _, labels in scoring.draw(9)] == sizes


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("+trainer.foo=3",), r"^trainer\.foo: Trainer has no such argument"),
        (("+trainer.max_tim=3",), r"^trainer\.max_tim: .*did you mean max_time"),
        (("trainer.devices=-1",), r"^trainer\.devices=-1: must be a whole number of 1 or more, or auto, on the CPU"),
        (("trainer.devices=[0,1]",), r"^trainer\.devices=\[0, 1\]: must be"),
        (("+trainer.profiler=abc",), r"^trainer .*profiler"),
        (("+trainer.max_time=abc",), r"^trainer .*valid duration"),
    ],
)
def test_what_the_trainer_does_not_take_is_refused(overrides, message, tmp_path):
    refused(tmp_path, message, *overrides)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_accelerator_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path, r"^trainer \(accelerator=gpu, devices=1\)", "trainer.accelerator=gpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("+recipe.optimizer.foo=3",), r"^recipe\.optimizer: .*unexpected keyword argument 'foo'"),
        (("recipe.optimizer.nesterov=true", "recipe.optimizer.momentum=0"), r"^recipe\.optimizer: Nesterov momentum"),
        (("method=edge_popup", "sparsity.density=0.3", "+recipe.optimizer.foo=3"), r"^recipe\.optimizer: .*'foo'"),
    ],
)
def test_what_the_optimizer_does_not_take_is_refused(overrides, message, tmp_path):
    refused(tmp_path, message, *overrides)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, w: {}, r"do not fit the network: wrong \[\], missing \['hidden.0.weight'\]"),
        (lambda name, w: {name: w[:2]}, r"do not fit the network: wrong \['hidden.0.weight'\]"),
        (lambda name, w: {name: w * float("nan")}, r"not numbers \(NaN\): \['hidden.0.weight'\]"),
    ],
)
@pytest.mark.parametrize("how", [("method=retrain",), ("method=at_init", "method/weights=from_ticket")])
def test_weights_of_a_ticket_that_do_not_fit_are_refused(how, change, message, tmp_path, tmp_path_factory):
    path = a_ticket(tmp_path_factory.mktemp("given") / "ticket.safetensors", configuration(tmp_path))
    whole = Ticket.load(path)
    others = {name: weight for name, weight in whole.weights.items() if name != "hidden.0.weight"}
    Ticket(whole.masks, others | change("hidden.0.weight", whole.weights["hidden.0.weight"])).save(path)
    with pytest.raises(ValueError, match=message) as error:
        built(tmp_path, *how, f"ticket={path}")
    assert str(path) in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "multistep", "cosine", "trapezoidal"])
def test_a_warm_up_longer_than_the_level_is_refused(schedule, tmp_path):
    with pytest.raises(ValueError, match=r"recipe\.schedule\.warmup=4 epochs is longer than a level or cycle of 3"):
        built(tmp_path, f"recipe/schedule={schedule}", "recipe.schedule.warmup=4")
    built(tmp_path, f"recipe/schedule={schedule}", "recipe.schedule.warmup=3")


def test_a_class_with_too_few_samples_for_a_criterion_is_refused(tmp_path):
    given = "method=snip", "sparsity.density=0.3", "method.criterion.samples_per_class=1000"
    refused(tmp_path, r"^samples_per_class=1000: class \d has \d+ training samples; valid: 1\.\.", *given)
