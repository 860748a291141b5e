"""The family of networks: what each is made of, by count, by hand and by law."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from monai.networks.nets import UNet  # noqa: E402
from pydantic import ValidationError  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from lvseg.modelcard import InputSpec  # noqa: E402
from lvseg.train.export import PARITY_TOLERANCE, _onnx_bytes  # noqa: E402
from lvseg.train.network import (  # noqa: E402
    AttentionGate,
    NetworkOptions,
    Recalibration,
    SpatialAttention,
    build,
    count_parameters,
    doubling,
)

pytestmark = [
    pytest.mark.torch,
    # torch's own exporter and its dependencies announce changes of theirs
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

#: Parameters at the study's scale: width 64, depth 5.
AT_STUDY_SCALE = {
    "encoder-decoder": 99_242_949,
    "se-encoder-decoder": 100_995_565,
    "unet": 124_390_149,
    "se-attention-unet": 114_964_914,
}
FAMILY = tuple(AT_STUDY_SCALE)
#: Kinds of MONAI, each with widths it takes.
MONAI = {
    "monai-basic-unet": (4, 8, 16, 32, 64),
    "monai-attention-unet": (4, 8, 16, 32, 64),
    "monai-segresnet": (4, 8, 16, 32),
    "residual-unet": (8, 16, 32, 64, 128),
}
VARIANTS = [
    *({"kind": kind} for kind in FAMILY),
    {"kind": "unet", "attention": "cbam-spatial", "gates": True},
    {"kind": "se-attention-unet", "normalization": "group"},
    *({"kind": "unet", "normalization": name} for name in ("instance", "none")),
]


def small(seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return build(NetworkOptions.model_validate({"widths": (8, 12, 16), **options}))


def on_meta(options: NetworkOptions) -> nn.Module:
    """Shapes only; nothing is allocated."""
    with torch.device("meta"):
        return build(options)


def pictures(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", FAMILY)
def test_parameters_at_study_scale(kind: str) -> None:
    options = NetworkOptions.model_validate({"kind": kind, "widths": doubling(64, 5)})
    network = on_meta(options)
    assert {weight.device.type for weight in network.parameters()} == {"meta"}
    assert count_parameters(network) == AT_STUDY_SCALE[kind]


def test_the_variant_behind_the_studys_numbers_has_its_size() -> None:
    # reported: about 101 million, 385 MB; running mean and variance of the normalisation count
    options = NetworkOptions(kind="se-encoder-decoder", widths=doubling(64, 5))
    network = on_meta(options)
    stored = count_parameters(network)
    stored += sum(each.numel() for each in network.buffers() if each.dim())
    assert round(stored / 1e6) == 101
    assert int(stored * 4 / 2**20) == 385
    # one pooling less is far away
    shallow = on_meta(options.model_copy(update={"widths": doubling(64, 4)}))
    assert round(count_parameters(shallow) / 1e6) == 25


def test_the_plain_unet_is_the_well_known_one() -> None:
    # Ronneberger 2015 with a head of 2 channels and 1: 3x3 convolutions of 64 .. 1024 channels
    # 18,842,048 down; 2x2 and two 3x3 up 9,176,576 + 2,294,528 + 573,824 + 143,552; head 1157
    options = NetworkOptions(kind="unet", widths=doubling(64, 4), normalization="none")
    total = 18_842_048 + 9_176_576 + 2_294_528 + 573_824 + 143_552 + 1_157
    assert count_parameters(on_meta(options)) == total == 31_031_685


def test_a_part_costs_what_its_formula_says() -> None:
    # widths 8, 12 and 16; squeezed to an eighth: 1, 1 and 2 channels
    plain = count_parameters(small(kind="encoder-decoder"))
    # modules behind 8 and 12, in front of 16 and 12: 2 C r + r + C
    modules = (2 * 8 + 1 + 8) + 2 * (2 * 12 + 1 + 12) + (2 * 16 * 2 + 2 + 16)
    assert count_parameters(small(kind="se-encoder-decoder")) - plain == modules
    # skips: a 3x3 convolution sees twice the channels
    skips = 9 * (12 * 12 + 8 * 8)
    assert count_parameters(small(kind="encoder-decoder", skips=True)) - plain == skips
    # gates: C to C / 2 twice, one bias, C / 2 to 1 with bias
    gates = sum(2 * c * c // 2 + c // 2 + c // 2 + 1 for c in (12, 8))
    both = count_parameters(small(kind="encoder-decoder", skips=True, gates=True))
    assert both - plain - skips == gates
    # the spatial map: 2 x 7 x 7 weights and a bias, at four places
    cbam = count_parameters(small(kind="encoder-decoder", attention="cbam-spatial"))
    assert cbam - plain == 4 * 99


@pytest.mark.parametrize("sides", [(32, 24), (33, 47), (7, 4)], ids=str)
@pytest.mark.parametrize("kind", FAMILY)
def test_logits_have_the_size_of_the_image_odd_or_not(kind: str, sides: tuple[int, int]) -> None:
    network = small(kind=kind).eval()
    logits = network(pictures(3, 1, *sides))
    assert logits.shape == (3, 1, *sides)
    assert logits.std() > 0


@pytest.mark.parametrize("options", VARIANTS, ids=lambda each: "-".join(map(str, each.values())))
def test_gradients_reach_every_weight(options: dict[str, object]) -> None:
    network = small(**options).train()
    logits = network(pictures(4, 1, 19, 24))
    (logits - pictures(4, 1, 19, 24, seed=2)).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", ["residual-unet", *FAMILY])
def test_equal_seeds_give_equal_weights(kind: str) -> None:
    first, again, other = (small(seed, kind=kind).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


class Without(nn.Module):
    """Stands where the bottleneck was and lets nothing through."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.zeros(len(features), 16, *features.shape[2:])


@pytest.mark.parametrize("kind", MONAI)
def test_networks_of_monai_keep_the_size_and_learn(kind: str) -> None:
    torch.manual_seed(0)
    network = build(NetworkOptions.model_validate({"kind": kind, "widths": MONAI[kind]}))
    logits = network(pictures(2, 1, 48, 32))
    assert logits.shape == (2, 1, 48, 32)
    logits.square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize(
    ("kind", "widths"), [("monai-basic-unet", (8, 16, 32)), ("monai-segresnet", (8, 16, 32, 48))]
)
def test_widths_that_a_network_of_monai_cannot_have_are_refused(
    kind: str, widths: tuple[int, ...]
) -> None:
    with pytest.raises(ValidationError, match="levels"):
        NetworkOptions.model_validate({"kind": kind, "widths": widths})


@pytest.mark.parametrize("kind", FAMILY)
def test_only_skips_lead_past_the_bottleneck(kind: str) -> None:
    skips = kind in ("unet", "se-attention-unet")
    for chosen in (None, True, False):
        network = small(kind=kind, skips=chosen, gates=False if chosen is False else None).eval()
        network.bottleneck = Without()
        one, two = network(pictures(2, 1, 16, 20))
        assert torch.equal(one, two) is not (skips if chosen is None else chosen)


def test_a_closed_gate_closes_the_skip() -> None:
    network = small(kind="se-attention-unet").eval()
    network.bottleneck = Without()
    for block in network.decoder:
        nn.init.constant_(block.gate.psi.bias, -200)  # sigmoid(-200) = 0
    one, two = network(pictures(2, 1, 16, 20))
    assert torch.equal(one, two)


def test_an_attention_gate_computes_its_formula() -> None:
    gate = AttentionGate(2, 3)  # one inner channel
    with torch.no_grad():
        gate.skip.weight.copy_(torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1))
        gate.gating.weight.copy_(torch.tensor([2.0, 0.0, 1.0]).reshape(1, 3, 1, 1))
        gate.gating.bias.fill_(-5)
        gate.psi.weight.fill_(3)
        gate.psi.bias.fill_(-3)
    # two pixels: x = (4, 1) and (4, 4); g = (1, 9, 1) at both
    skip = torch.tensor([[4.0, 4.0], [1.0, 4.0]]).reshape(1, 2, 1, 2)
    gating = torch.tensor([1.0, 9.0, 1.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 2)
    # relu(4 - 1 + 2 + 1 - 5) = 1 -> sigmoid(3 - 3) = 0.5; relu(0 + 3 - 5) = 0 -> sigmoid(-3)
    closed = 1 / (1 + np.exp(3))
    expected = torch.tensor([[2.0, 4 * closed], [0.5, 4 * closed]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(gate(skip, gating), expected.float())


def test_recalibration_computes_its_formula() -> None:
    module = Recalibration(2, reduction=2)  # squeezed to one number
    with torch.no_grad():
        module.squeeze.weight.copy_(torch.tensor([[1.0, 2.0]]))
        module.squeeze.bias.fill_(-1)
        module.excite.weight.copy_(torch.tensor([[1.0], [0.0]]))
        module.excite.bias.copy_(torch.tensor([-4.0, 0.0]))
    features = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 0.0]]).reshape(1, 2, 1, 3)
    # means 1 and 1: relu(1 + 2 - 1) = 2; s = sigmoid(2 - 4), sigmoid(0); x + x s
    s = torch.tensor([1 / (1 + np.exp(2)), 0.5]).float().reshape(1, 2, 1, 1)
    torch.testing.assert_close(module.weights(features), s[:, :, 0, 0])
    torch.testing.assert_close(module(features), features * (1 + s))


def test_recalibration_knows_no_places() -> None:
    module = Recalibration(8)
    features = pictures(2, 8, 6, 5)
    moved = module(features.roll((2, 1), (2, 3)))
    torch.testing.assert_close(moved, module(features).roll((2, 1), (2, 3)))


def test_spatial_attention_computes_its_formula() -> None:
    module = SpatialAttention()
    with torch.no_grad():
        module.convolution.weight.zero_()
        module.convolution.weight[0, 0, 3, 3] = 1  # the mean of this pixel
        module.convolution.weight[0, 1, 3, 4] = -1  # the maximum of the pixel to the right
        module.convolution.bias.fill_(0.5)
    features = torch.tensor([[1.0, 5.0], [3.0, 2.0]]).reshape(1, 2, 1, 2)
    # left: mean 2, maximum on its right 5: 2 - 5 + 0.5; right: mean 3.5, beyond the border 0
    m = torch.sigmoid(torch.tensor([-2.5, 4.0])).reshape(1, 1, 1, 2)
    torch.testing.assert_close(module.weights(features), m)
    torch.testing.assert_close(module(features), features * m)


def test_at_batch_size_one_the_module_of_a_decoder_block_does_not_see_the_image() -> None:
    network = small(kind="se-encoder-decoder").train()
    seen: list[Tensor] = []
    for block in network.decoder:
        block.attention.register_forward_hook(
            lambda module, inputs, output: seen.append(module.weights(inputs[0]).detach())
        )
    for seed in (1, 2):
        network(pictures(1, 1, 16, 20, seed=seed))
    network(pictures(2, 1, 16, 20))
    one, two, pair = seen[:2], seen[2:4], seen[4:]
    for first, second, both in zip(one, two, pair, strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=0)
        assert (both[0] - both[1]).abs().max() > 1e-4


def test_the_decoder_repeats_pixels_exactly_twice_at_even_sides() -> None:
    network = small(kind="encoder-decoder", widths=(1, 1))
    (block,) = network.decoder
    block.normalisation, block.block = nn.Identity(), nn.Identity()
    with torch.no_grad():
        block.up.weight.zero_()
        block.up.weight[..., 0, 0] = 1
        block.up.bias.zero_()
    low = torch.tensor([[1.0, 2.0]]).reshape(1, 1, 1, 2)
    even, odd = block(low, torch.empty(1, 1, 2, 4)), block(low, torch.empty(1, 1, 3, 5))
    assert even[0, 0].tolist() == [[1, 1, 2, 2]] * 2
    assert odd[0, 0].tolist() == [[1, 1, 1, 2, 2]] * 3


def test_an_old_description_is_the_residual_unet_it_was() -> None:
    old = {"widths": [4, 8, 8], "residual_units": 2, "dropout": 0.0}  # as in older checkpoints
    options = NetworkOptions.model_validate(old)
    assert options == NetworkOptions(widths=(4, 8, 8))
    torch.manual_seed(5)
    found = build(options).state_dict()
    torch.manual_seed(5)
    monai = UNet(2, 1, 1, (4, 8, 8), (2, 2), num_res_units=2, norm="BATCH").state_dict()
    assert list(found) == list(monai)
    assert all(torch.equal(value, monai[key]) for key, value in found.items())
    assert count_parameters(build(NetworkOptions())) == 1_627_278


def test_a_description_survives_json() -> None:
    options = NetworkOptions(kind="se-attention-unet", widths=(8, 16), normalization="group")
    assert NetworkOptions.model_validate(options.model_dump(mode="json")) == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "encoder-decoder", "gates": True}, "stand on skips"),
        ({"kind": "se-attention-unet", "skips": False}, "stand on skips"),
        ({"skips": True}, "not for residual-unet"),
        ({"normalization": "group"}, "not for residual-unet"),
        ({"kind": "unet", "width": 64}, "Extra inputs"),
        ({"kind": "unet", "widths": [8]}, "at least 2"),
        ({"kind": "transformer"}, "residual-unet"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        NetworkOptions.model_validate(options)


def test_batch_momentum_weighs_the_newest_batch() -> None:
    for momentum in (1.0, 0.25):
        network = small(kind="unet", batch_momentum=momentum).train()
        layer = network.encoder[0][2]
        seen: list[Tensor] = []
        layer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        network(pictures(2, 1, 8, 12))
        expected = momentum * seen[0].mean((0, 2, 3))  # the running mean begins at 0
        torch.testing.assert_close(layer.running_mean, expected.detach())


class Together(nn.Module):
    """Several networks as one, so that one export serves all."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([network(image) for network in self.networks], 1)


def test_onnx_agrees_with_torch_for_every_kind_at_odd_sides_too() -> None:
    import onnxruntime

    variants = [*({"kind": kind} for kind in FAMILY), VARIANTS[4]]
    network = Together([small(widths=(4, 6), **options) for options in variants]).eval()
    spec = InputSpec(spacing_mm=1.3, crop_px=32, multiple_px=1)
    session = onnxruntime.InferenceSession(_onnx_bytes(network, spec))
    for shape in ((1, 1, 32, 32), (3, 1, 7, 10), (2, 1, 16, 9)):
        image = pictures(*shape)
        with torch.no_grad():
            expected = network(image).numpy()
        (found,) = session.run(None, {"image": image.numpy()})
        assert found.shape == expected.shape
        difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
        assert difference.max() <= PARITY_TOLERANCE


@pytest.mark.parametrize("kind", ["residual-unet", "unet", "se-attention-unet", *MONAI])
def test_channels_are_what_was_asked_for(kind: str) -> None:
    options = NetworkOptions.model_validate({"kind": kind, "widths": MONAI.get(kind, (8, 12, 16))})
    network = build(options, in_channels=3, out_channels=2).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 48, 32)).shape == (1, 2, 48, 32)
