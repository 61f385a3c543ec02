"""Networks of torchvision and timm: adapted to the dataset, or refused with a message."""

import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from lth.networks import timm_model, torchvision_model

SMALL = {torchvision_model: "squeezenet1_1", timm_model: "resnet10t"}
NORMED = {torchvision_model: "mobilenet_v3_small", timm_model: "resnet10t"}
FACTORIES = pytest.mark.parametrize("factory", SMALL)


def build(factory, name=None, classes=10, channels=3, image_size=32, **options):
    return factory(name or SMALL[factory], classes=classes, channels=channels, image_size=image_size, **options)


@pytest.mark.slow
@FACTORIES
@pytest.mark.parametrize(("classes", "channels", "image_size"), [(10, 1, 28), (100, 3, 32), (7, 1, 64)])
def test_classes_and_channels_follow_the_dataset(factory, classes, channels, image_size):
    net = build(factory, classes=classes, channels=channels, image_size=image_size)
    assert net.training
    assert net(torch.randn(2, channels, image_size, image_size)).shape == (2, classes)


@pytest.mark.slow
@FACTORIES
def test_without_an_init_the_weights_are_the_librarys(factory):
    torch.manual_seed(0)
    ours = build(factory)
    torch.manual_seed(0)
    if factory is torchvision_model:
        theirs = models.get_model(SMALL[factory], num_classes=10)
    else:
        import timm

        theirs = timm.create_model(SMALL[factory], num_classes=10)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.slow
def test_fewer_channels_keep_the_spread_of_the_librarys_first_layer():
    torch.manual_seed(0)
    colour = build(torchvision_model, "resnet18")
    torch.manual_seed(0)
    grey = build(torchvision_model, "resnet18", channels=1)
    assert torch.equal(grey.conv1.weight, colour.conv1.weight[:, :1])
    assert grey.conv1.in_channels == 1


@pytest.mark.slow
@FACTORIES
def test_an_init_redraws_all_conv_and_linear_weights(factory):
    net = build(factory, init="signed_constant")
    weights = [layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert all(weight.abs().max() == weight.abs().min() > 0 for weight in weights)


@pytest.mark.slow
@FACTORIES
def test_biases_and_batch_norm_parameters_can_be_taken_away(factory):
    net = build(factory, NORMED[factory], bias=False, affine=False)
    weights = {id(layer.weight) for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    assert {id(parameter) for parameter in net.parameters()} == weights
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@FACTORIES
def test_a_name_unknown_is_refused_with_the_nearest_ones(factory):
    with pytest.raises(ValueError, match=r"model.name='resnet_18' is unknown; valid: .*resnet18"):
        build(factory, "resnet_18")


def test_torchvision_offers_classifiers_only():
    with pytest.raises(ValueError, match="is unknown"):
        build(torchvision_model, "fasterrcnn_resnet50_fpn")


def test_more_channels_than_torchvision_has_are_refused():
    with pytest.raises(ValueError, match="channels=4 does not fit torchvision's networks; valid: 1 to 3"):
        build(torchvision_model, channels=4)


@pytest.mark.slow
@pytest.mark.parametrize(("factory", "name"), [(torchvision_model, "alexnet"), (timm_model, "vit_tiny_patch16_224")])
def test_an_image_the_network_cannot_read_is_refused(factory, name):
    with pytest.raises(ValueError, match=f"{name} cannot read the dataset's images.*image_size=28"):
        build(factory, name, image_size=28)


def test_options_reach_the_library():
    net = build(timm_model, "vit_tiny_patch16_224", options={"img_size": 32, "depth": 1})
    assert len(net.blocks) == 1


@FACTORIES
def test_options_the_library_does_not_know_are_refused(factory):
    with pytest.raises(ValueError, match=r"cannot be built.*depht"):
        build(factory, options={"depht": 1})


@pytest.mark.slow
def test_auxiliary_classifiers_are_refused():
    with pytest.raises(ValueError, match=r"auxiliary classifiers; valid: model.options="):
        build(torchvision_model, "googlenet", options={"init_weights": False})


@pytest.mark.slow
@FACTORIES
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_pretrained_weights_are_read_from_a_file(factory, suffix, tmp_path):
    trained = build(factory).state_dict()
    path = tmp_path / f"trained.{suffix}"
    save_file(trained, path) if suffix == "safetensors" else torch.save({"state_dict": trained}, path)
    loaded = build(factory, pretrained=str(path)).state_dict()
    assert all(torch.equal(trained[key], loaded[key]) for key in trained)


@pytest.mark.slow
def test_a_classifier_over_other_classes_starts_anew(tmp_path):
    trained = build(timm_model, classes=5).state_dict()
    torch.save(trained, tmp_path / "trained.pt")
    loaded = build(timm_model, classes=10, pretrained=str(tmp_path / "trained.pt")).state_dict()
    assert [key for key in trained if loaded[key].shape != trained[key].shape] == ["fc.weight", "fc.bias"]
    assert torch.equal(loaded["conv1.0.weight"], trained["conv1.0.weight"])


@FACTORIES
def test_weights_of_another_network_are_refused(factory, tmp_path):
    torch.save({"fc.weight": torch.zeros(10, 3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"pretrained=.*other\.pt is of another network"):
        build(factory, pretrained=str(tmp_path / "other.pt"))


@pytest.mark.slow
@pytest.mark.parametrize("factory", [torchvision_model])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "backbone.body."])
@pytest.mark.parametrize("key", [None, "state_dict", "model", "net"])
def test_prefixes_and_wrappers_are_taken_off(factory, prefix, key, tmp_path):
    trained = build(factory).state_dict()
    state = {f"{prefix}{name}": value for name, value in trained.items()}
    state |= {"criterion.weight": torch.ones(10)} if prefix == "backbone.body." else {}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "trained.pt")
    loaded = build(factory, pretrained=str(tmp_path / "trained.pt")).state_dict()
    assert all(torch.equal(trained[name], loaded[name]) for name in trained)


@pytest.mark.slow
def test_a_state_dict_of_before_torch_0_4_1_has_no_counters(tmp_path):
    trained = build(torchvision_model, "resnet18").state_dict()
    old = {name: value for name, value in trained.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(trained)
    torch.save(old, tmp_path / "old.pt")
    loaded = build(torchvision_model, "resnet18", pretrained=str(tmp_path / "old.pt")).state_dict()
    assert all(torch.equal(trained[name], loaded[name]) for name in trained)


@pytest.mark.slow
def test_a_file_that_is_no_state_dict_is_refused_by_its_name(tmp_path):
    trained = build(torchvision_model)
    torch.save(trained.state_dict(), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:1000])
    torch.save(trained, tmp_path / "module.pt")
    nan = {name: value * float("nan") for name, value in trained.state_dict().items()}
    torch.save(nan, tmp_path / "nan.pt")
    twice = {f"{part}.{name}": value for name, value in trained.state_dict().items() for part in ("student", "teacher")}
    torch.save(twice, tmp_path / "twice.pt")
    pruned = {**trained.state_dict(), "features.0.mask": torch.zeros(64, 3, 3, 3)}
    torch.save(pruned, tmp_path / "pruned.pt")
    reasons = {
        "cut.pt": "is refused",
        "module.pt": r"save the state_dict\(\) of a module",
        "nan.pt": r"not numbers \(NaN\)",
        "twice.pt": r"several networks, under student\., teacher\.",
        "pruned.pt": "a pruned network.*lth ticket import",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason) as error:
            build(torchvision_model, pretrained=str(tmp_path / name))
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_weights_of_another_shape_are_refused(tmp_path):
    trained = build(timm_model).state_dict()
    trained["conv1.0.weight"] = trained["conv1.0.weight"][:, :1]
    torch.save(trained, tmp_path / "grey.pt")
    with pytest.raises(ValueError, match=r"grey\.pt: conv1\.0\.weight has shape \(24, 1, 3, 3\)"):
        build(timm_model, pretrained=str(tmp_path / "grey.pt"))


@FACTORIES
def test_a_pretrained_path_that_is_missing_is_refused(factory):
    with pytest.raises(ValueError, match=r"pretrained='nowhere.pt' is not a file; valid: false, true"):
        build(factory, pretrained="nowhere.pt")


@FACTORIES
def test_an_init_that_would_overwrite_pretrained_weights_is_refused(factory):
    with pytest.raises(ValueError, match="init='kaiming_normal' would overwrite pretrained=True; valid: model_default"):
        build(factory, pretrained=True, init="kaiming_normal")


def test_pretrained_torchvision_weights_on_grey_images_are_refused():
    with pytest.raises(ValueError, match="read 3 channels, the dataset has 1"):
        build(torchvision_model, pretrained=True, channels=1)


@pytest.mark.parametrize(
    ("factory", "library", "command"),
    [(timm_model, "timm", r"pip install 'lth\[timm\]'"), (torchvision_model, "torchvision", "pip install torchvision")],
)
def test_a_missing_library_is_an_error_that_says_what_to_install(factory, library, command, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=command):
        build(factory)


@pytest.mark.slow
def test_a_pretrained_body_gets_a_new_classifier_under_dropout(tmp_path):
    trained = build(timm_model, classes=5).state_dict()
    torch.save(trained, tmp_path / "trained.pt")
    net = build(timm_model, classes=10, pretrained=str(tmp_path / "trained.pt"), options={"drop_rate": 0.4}).eval()
    assert torch.equal(net.conv1[0].weight, trained["conv1.0.weight"])
    features = net.forward_head(net.forward_features(x := torch.randn(2, 3, 32, 32)), pre_logits=True)
    torch.testing.assert_close(net(x), net.fc(features))
    for module in net.modules():  # only dropout is active, batch norm evaluates
        module.training = module is net
    torch.manual_seed(0)
    kept = torch.nn.functional.dropout(net.global_pool(net.forward_features(x)), 0.4)
    torch.manual_seed(0)
    torch.testing.assert_close(net(x), net.fc(kept))
    assert not torch.equal(kept, features)
