import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from torch.utils.flop_counter import FlopCounterMode

from fmnist.config import Activation, Convolution, Head, Pool, TrialConfig
from fmnist.data.images import SIDE
from fmnist.network import build, describe, folded
from fmnist.network.architecture import Architecture, Block, Layer, Shape
from fmnist.network.convnet import ConvBlock
from fmnist.network.network import Network

NETWORK = {
    "depth": st.integers(1, 4),
    "blocks": st.integers(1, 4),
    "filters": st.integers(4, 24),
    "growth": st.floats(1, 1.5),
    "conv": st.sampled_from(get_args(Convolution)),
    "kernel_size": st.sampled_from((3, 5)),
    "batch_norm": st.booleans(),
    "residual": st.booleans(),
    "activation": st.sampled_from(get_args(Activation)),
    "squeeze": st.booleans(),
    "pool": st.sampled_from(get_args(Pool)),
    "init": st.sampled_from(("normal", "dirac")),
    "head": st.sampled_from(get_args(Head)),
    "hidden": st.sampled_from((0, 1, 16, 64)),
    "dropout": st.floats(0, 0.9),
}
VIEWS: tuple[tuple[Literal[0, 1], bool], ...] = ((0, False), (1, False), (1, True))  # translate, mirror
configurations = st.fixed_dictionaries(NETWORK).map(TrialConfig.model_validate)
class_counts = st.integers(2, 12)


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand((count, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


def block(channels_in: int, channels_out: int, *, norm: bool = False, **changes: Any) -> ConvBlock:
    layer = Layer((channels_in, SIDE, SIDE), (channels_out, SIDE, SIDE), kernel_size=3, norm=norm)
    pool = changes.pop("pool", None)
    return ConvBlock((layer,), (), TrialConfig(**changes), pool)


@given(configurations, class_counts, st.integers(0, 100))
@settings(max_examples=150, deadline=None)
def test_any_configuration_gives_scores_and_gradients_for_all_parameters(
    config: TrialConfig, classes: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = build(config, classes)
    logits = model(pictures(3, seed))
    assert logits.shape == (3, classes)
    loss = cross_entropy(logits, torch.arange(3) % classes)
    assert torch.isfinite(loss)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients.values())
    assert any(
        gradient is not None and gradient.any() for name, gradient in gradients.items() if name.startswith("classifier")
    )


def described(architecture: Architecture) -> dict[str, Any]:
    shapes = [(layer.input, layer.output) for layer in architecture.layers]
    return {
        "parameters": architecture.parameters,
        "flops": architecture.pass_flops,
        "weight_bytes": architecture.weight_bytes,
        "shapes": shapes,
    }


def measured(model: Network) -> dict[str, Any]:
    """The same figures, measured while the module scores one image."""
    shapes = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda _, inputs, output: shapes.append((tuple(inputs[0].shape[1:]), tuple(output.shape[1:])))
            )
    with FlopCounterMode(display=False) as counter:
        model(pictures(1))
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "flops": counter.get_total_flops(),
        "weight_bytes": sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()),
        "shapes": shapes,
    }


@given(configurations, class_counts)
@settings(max_examples=60, deadline=None)
def test_the_description_matches_the_module(config: TrialConfig, classes: int) -> None:
    assert described(describe(config, classes)) == measured(build(config, classes))


def strided(config: TrialConfig) -> Iterator[Block]:
    """Another family: two convolutions a block, the first with a bias, the second with a norm and a stride of two."""
    before: Shape = (1, SIDE, SIDE)
    for width in config.widths:
        first = Layer(before, (width, *before[1:]), kernel_size=5)
        second = Layer(first.output, (width, *(side // 2 for side in before[1:])), kernel_size=3, norm=True)
        convolutions = (
            nn.Conv2d(before[0], width, 5, padding=2),
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
        )
        before = second.output
        yield Block((first, second), before, partial(nn.Sequential, *convolutions, nn.BatchNorm2d(width)))


@pytest.mark.parametrize("head", get_args(Head))
def test_another_family_needs_only_its_blocks(head: Head) -> None:
    architecture = Architecture(
        TrialConfig(head=head, filters=4, hidden=16, mirror=True), tuple(strided(TrialConfig(filters=4))), 3
    )
    model = Network(architecture)
    assert described(architecture) == measured(model)
    assert model(pictures(2)).shape == (2, 3)
    assert torch.equal(folded(model)(pictures(2)), model.eval()(pictures(2)))


@given(configurations, class_counts)
@settings(max_examples=30, deadline=None)
def test_evaluation_does_not_depend_on_the_batch(config: TrialConfig, classes: int) -> None:
    model, images = build(config, classes).eval(), pictures(4)
    with torch.inference_mode():
        together = model(images)
        assert torch.equal(together, model(images))
        torch.testing.assert_close(model(images[:1]), together[:1], rtol=1e-4, atol=1e-4)


@given(configurations, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_folding_the_norms_keeps_the_scores(config: TrialConfig, seed: int) -> None:
    torch.manual_seed(seed)
    model = build(config, 5)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        # As after training, including negative scales.
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            assert tensor is not None
            nn.init.normal_(tensor)
        assert norm.running_var is not None
        nn.init.uniform_(norm.running_var, 0.5, 2)
    before = copy.deepcopy(model)
    with torch.inference_mode():
        torch.testing.assert_close(
            folded(model)(pictures(4)), copy.deepcopy(model).eval()(pictures(4)), rtol=1e-3, atol=1e-3
        )
    assert model.training
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.state_dict().values(), strict=True)
    )


def test_norms_directly_after_a_convolution_are_folded() -> None:
    def norms(**changes: Any) -> int:
        network = folded(build(TrialConfig(depth=2, blocks=2, batch_norm=True, **changes), 5))
        return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())

    assert norms(pool="after") == 0
    assert norms(pool="before") == 2  # in the first block of each stage, after its pooling


@given(configurations)
@settings(max_examples=30, deadline=None)
def test_pooling_before_or_after_the_norm_gives_the_same_shapes(config: TrialConfig) -> None:
    before, after = (build(config.model_copy(update={"pool": pool}), 10) for pool in ("before", "after"))
    assert {name: t.shape for name, t in before.state_dict().items()} == {
        name: t.shape for name, t in after.state_dict().items()
    }
    assert before.stages(pictures(2)).shape == after.stages(pictures(2)).shape


@pytest.mark.parametrize(("depth", "side"), [(1, 14), (2, 7), (3, 4), (4, 2)])
def test_every_stage_halves_the_image_and_rounds_up(depth: int, side: int) -> None:
    config = TrialConfig(depth=depth, filters=8, growth=1.0, blocks=2)
    assert build(config, 10).stages(pictures(2)).shape == (2, 8, side, side)


def test_the_cost_of_a_small_network_by_hand() -> None:
    config = TrialConfig(depth=2, blocks=2, filters=8, growth=2.0, kernel_size=3, hidden=20)
    convolutions = [(28, 1, 8), (28, 8, 8), (14, 8, 16), (14, 16, 16)]  # the first of a stage is before its pooling
    sides = (28, 14, 14, 7)
    dense = [(16 * 7 * 7, 20), (20, 10)]
    weights = sum(9 * a * b + b for _, a, b in convolutions) + sum(a * b + b for a, b in dense)
    multiply_adds = sum(side**2 * 9 * a * b for side, (_, a, b) in zip(sides, convolutions, strict=True)) + sum(
        a * b for a, b in dense
    )
    network = describe(config, 10)
    assert (network.parameters, network.flops) == (weights, 2 * multiply_adds)
    maps = sum(side**2 * b for side, (_, _, b) in zip(sides, convolutions, strict=True)) + sum(b for _, b in dense)
    assert network.training_floor(mixed=False) == 4 * 4 * weights + 4 * config.batch_size * maps
    assert network.training_floor(mixed=True) == 4 * 4 * weights + 2 * config.batch_size * maps
    assert network.scoring_floor(100) == 100 * 4 * 28**2 * (1 + 8)  # the first convolution


@pytest.mark.parametrize(
    "changes",
    [
        {"depth": 3},
        {"blocks": 2},
        {"filters": 32},
        {"growth": 3.0},
        {"kernel_size": 5},
        {"hidden": 512},
        {"head": "avg"},
    ],
)
def test_a_larger_network_costs_more(changes: dict[str, Any]) -> None:
    config = TrialConfig(filters=16)
    larger = TrialConfig(**{"filters": 16, **changes})
    assert (describe(larger, 10).flops > describe(config, 10).flops) == (changes != {"head": "avg"})


def test_a_shortcut_adds_the_input_to_the_output() -> None:
    with_shortcut, x = block(4, 4, residual=True), torch.randn(2, 4, 7, 7)
    without = block(4, 4)
    without.load_state_dict(with_shortcut.state_dict())
    torch.testing.assert_close(with_shortcut(x) - without(x), x)
    assert without(x).any()


@pytest.mark.parametrize("changes", [{"channels_out": 8}, {"pool": "before"}, {"pool": "after"}])
def test_there_is_no_shortcut_if_shapes_differ(changes: dict[str, Any]) -> None:
    options = {"channels_in": 4, "channels_out": 4, "pool": None, **changes}
    torch.manual_seed(0)
    plain = block(**options)
    torch.manual_seed(0)
    residual = block(**options, residual=True)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(plain(x), residual(x))


def test_without_norm_the_order_of_pooling_does_not_matter_for_an_increasing_activation() -> None:
    after = block(3, 5, pool="after")
    before = block(3, 5, pool="before")
    before.load_state_dict(after.state_dict())
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(before(x), after(x))
    assert before(x).shape == (2, 5, 5, 5)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_the_block_has_the_configured_activation(activation: Activation) -> None:
    conv_block = block(3, 5, activation=activation)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(conv_block(x), getattr(torch.nn.functional, activation)(conv_block.conv(x)))


def test_the_norm_centres_and_scales_each_channel() -> None:
    y = block(3, 5, norm=True).norm(5 + 3 * torch.randn(64, 5, 6, 6))
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std(dim=(0, 2, 3)), torch.ones(5), atol=1e-2, rtol=0)
    assert block(3, 5, norm=True).conv.bias is None  # the norm has one


def test_heads_by_hand() -> None:
    torch.manual_seed(0)
    networks = {head: build(TrialConfig(depth=2, filters=8, head=head), 10) for head in get_args(Head)}
    images = pictures(2)
    for head, model in networks.items():
        maps = model.stages((images - model.mean) / model.std)
        vector = {"flatten": maps.flatten(1), "max": maps.amax((2, 3)), "avg": maps.mean((2, 3))}[head]
        torch.testing.assert_close(model(images), model.classifier(vector))


def test_dropout_is_active_only_in_training() -> None:
    model, images = build(TrialConfig(filters=8, hidden=32, dropout=0.5), 10), pictures(4)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_the_hidden_layer_has_the_configured_activation() -> None:
    model = build(TrialConfig(depth=1, filters=4, hidden=6, activation="relu"), 3).eval()
    x = torch.randn(2, 4 * 14 * 14)
    first, last = (layer for layer in model.classifier.children() if isinstance(layer, torch.nn.Linear))
    torch.testing.assert_close(model.classifier(x), last(relu(first(x))))


def test_the_network_centres_and_scales_its_input() -> None:
    model = build(TrialConfig(depth=1, filters=4), 3).eval()
    shifted = copy.deepcopy(model)
    shifted.mean.zero_()
    images = pictures(2)
    torch.testing.assert_close(model(images), shifted(images - model.mean))
    assert not torch.allclose(model(images), shifted(images))


def test_mirror_gives_an_image_and_its_mirror_image_the_same_scores_in_evaluation() -> None:
    images = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    plain, mirrored = (build(TrialConfig(filters=4, mirror=mirror), 10) for mirror in (False, True))
    mirrored.load_state_dict(plain.state_dict())
    in_training = mirrored(images), plain(images)
    plain.eval(), mirrored.eval()
    assert torch.equal(*in_training)
    torch.testing.assert_close(mirrored(images), (plain(images) + plain(images.flip(3))) / 2)
    torch.testing.assert_close(mirrored(images), mirrored(images.flip(3)))


@pytest.mark.parametrize("head", ["flatten", "max", "avg"])
@pytest.mark.parametrize("side", [14, 20])
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_any_head_can_train_on_smaller_images(head: Head, side: int, depth: int) -> None:
    model = build(TrialConfig(depth=depth, filters=8, head=head), 10)
    model(torch.rand(2, 1, side, side)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_translate_averages_the_scores_of_an_image_and_of_its_two_diagonal_moves() -> None:
    images = torch.zeros(3, 1, SIDE, SIDE)
    images[:, :, 2:-2, 2:-2] = torch.rand(3, 1, SIDE - 4, SIDE - 4, generator=torch.Generator().manual_seed(0))
    plain, moved, both = (
        build(TrialConfig(filters=4, translate=translate, mirror=mirror), 10) for translate, mirror in VIEWS
    )
    for other in (moved, both):
        other.load_state_dict(plain.state_dict())
    assert torch.equal(moved(images), plain(images))  # in training
    for model in (plain, moved, both):
        model.eval()

    def expected(of: Tensor) -> Any:
        return plain(of) / 2 + (plain(of.roll((1, 1), (2, 3))) + plain(of.roll((-1, -1), (2, 3)))) / 4

    torch.testing.assert_close(moved(images), expected(images))
    torch.testing.assert_close(both(images), (expected(images) + expected(images.flip(3))) / 2)
    views = [describe(model, 10).views for model in (TrialConfig(), TrialConfig(translate=1, mirror=True))]
    assert views == [1, 6]
    assert describe(TrialConfig(mirror=True), 10).flops == 2 * describe(TrialConfig(), 10).flops


def test_squeeze_weighs_each_channel_of_each_image() -> None:
    config = TrialConfig(depth=1, filters=8, squeeze=True)
    with_squeeze = build(config, 10).stages[0]
    assert isinstance(with_squeeze, ConvBlock)
    images = pictures(4)
    weighed = with_squeeze(images)
    with_squeeze.squeeze = nn.Identity()
    shares = weighed / with_squeeze(images)
    assert (shares.nan_to_num(0.5) > 0).all()
    assert (shares.nan_to_num(0.5) < 1).all()
    flat = shares.flatten(2)  # [N, channels, pixels]
    for image in range(4):
        for channel in range(8):
            known = flat[image, channel][~flat[image, channel].isnan()]
            torch.testing.assert_close(known, known[:1].expand_as(known))
    assert not torch.equal(shares[0], shares[1])


def test_dirac_weights_pass_the_input_on_and_leave_the_first_layer_random() -> None:
    model = build(TrialConfig(depth=2, filters=8, growth=2.0, blocks=2, init="dirac", activation="relu"), 10)
    first, second, third, _ = (stage.conv for stage in model.stages if isinstance(stage, ConvBlock))
    x = torch.rand(2, 8, 9, 9)
    for conv in (second, third):
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        torch.testing.assert_close(conv(x)[:, :8], x)
    assert third(x)[:, 8:].std() > 0.1
    assert len(first.weight.unique()) == first.weight.numel()


@pytest.mark.parametrize(("filters", "growth", "groups"), [(32, 1.0, 2), (48, 2.0, 3), (24, 1.0, 1), (40, 1.0, 2)])
def test_groups_have_at_least_sixteen_channels(filters: int, growth: float, groups: int) -> None:
    config = TrialConfig(depth=2, blocks=2, filters=filters, growth=growth, conv="grouped")
    convolutions = [stage.conv for stage in build(config, 10).stages if isinstance(stage, ConvBlock)]
    assert [conv.groups for conv in convolutions[:2]] == [1, groups]


def test_a_stride_halves_the_image_in_the_convolution() -> None:
    strided, pooled = (describe(TrialConfig(depth=2, filters=8, pool=pool), 10) for pool in ("stride", "before"))
    assert strided.maps == pooled.maps
    assert strided.parameters == pooled.parameters
    assert strided.pass_flops < pooled.pass_flops / 3
