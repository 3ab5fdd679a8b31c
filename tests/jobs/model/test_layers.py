"""The closed form of each technique that the model is built from: what a formula says, numbers must do."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from jobs.layers import Linear, rms_norm
from tests.jobs import tiny
from tests.jobs.tiny import SHAPE, base, model_of, technique

ORDER = range(SHAPE.num_layers)
WIDE = replace(SHAPE, model_dim=8, num_heads=2, num_kv_heads=1, vocab_size=16)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def as_identity(layer: Linear) -> None:
    """Make a square linear layer pass its input through."""
    with torch.no_grad():
        layer.weight.copy_(torch.eye(*layer.weight.shape))


def set_all(tensor: Tensor, value: float) -> None:
    with torch.no_grad():
        tensor.fill_(value)


# Feed-forward


def activation(name: str, **knobs: object) -> nn.Module:
    """The feed-forward ``name`` with identity matrices: what is left is its activation."""
    layer = technique("feed_forward", name, hidden_dim=WIDE.model_dim, **knobs).build(WIDE, 0)
    for linear in layer.modules():
        if isinstance(linear, Linear):
            as_identity(linear)
    return layer


@pytest.mark.parametrize("slope", [0.5, 0.75])
def test_leaky_relu_squared(slope: float) -> None:
    u = torch.tensor([[-3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 3.0, 7.0]], requires_grad=True)
    y = activation("leaky_relu_squared", slope=slope)(u)
    y.sum().backward()
    negative = u.detach() < 0
    torch.testing.assert_close(y, torch.where(negative, (slope * u) ** 2, u**2))
    torch.testing.assert_close(u.grad, torch.where(negative, 2 * slope**2 * u, 2 * u))


def test_relu_squared() -> None:
    u = torch.tensor([[-3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 3.0, 7.0]], requires_grad=True)
    y = activation("relu_squared")(u)
    y.sum().backward()
    assert y.tolist() == [[0, 0, 0, 0, 0.0625, 1, 9, 49]]
    assert u.grad is not None and u.grad.tolist() == [[0, 0, 0, 0, 0.5, 2, 6, 14]]


def test_star_relu_is_standardized_where_that_is_asked_for() -> None:
    u = random(20_000, 8)
    y = activation("star_relu", standardized=True)(u).detach()
    assert abs(float(y.mean())) < 0.01 and abs(float(y.var()) - 1) < 0.03
    torch.testing.assert_close(activation("star_relu")(u), activation("relu_squared")(u))


def test_star_relu_scales_and_shifts_channel_by_channel() -> None:
    layer = activation("star_relu")
    with torch.no_grad():
        layer.scale.copy_(torch.arange(8.0))
        layer.bias.copy_(torch.arange(8.0) / 10)
    u = random(5, 8)
    torch.testing.assert_close(layer(u), torch.arange(8.0) * u.clamp(min=0) ** 2 + torch.arange(8.0) / 10)


def test_swiglu_has_a_gate() -> None:
    layer = activation("swiglu")
    with torch.no_grad():
        layer.gate.weight.mul_(-2.0)
    u = random(5, 8)
    torch.testing.assert_close(layer(u), -2 * u * torch.sigmoid(-2 * u) * u)


@pytest.mark.parametrize("name", tiny.catalog().families["feed_forward"].techniques)
def test_hidden_width_by_multiple_or_number(name: str) -> None:
    for knobs, width in (({"hidden_multiple": 2.5}, 160), ({"hidden_dim": 100}, 100)):
        layer = technique("feed_forward", name, **knobs).build(SHAPE, 0)
        assert tuple(layer.up.weight.shape) == (width, 64) and tuple(layer.down.weight.shape) == (64, width)
        assert layer.down.starts_at_zero and not layer.up.starts_at_zero


# Position


def rotated(x: Tensor, *, dims: int, **knobs: object) -> Tensor:
    embedding = technique("position", "rotary", dims=dims, **knobs).build(SHAPE, 32)
    result: Tensor = embedding(x)
    return result


def test_rotary_products_depend_on_the_distance_alone() -> None:
    q, k = random(16), random(16, seed=1)
    turned_q, turned_k = (rotated(x.expand(1, 32, 1, 16), dims=16)[0, :, 0].double() for x in (q, k))
    products = turned_q @ turned_k.T
    for distance in range(-31, 32):
        along = products.diagonal(distance)
        assert float(along.max() - along.min()) < 1e-5
    assert float(products[0].max() - products[0].min()) > 0.1
    torch.testing.assert_close(turned_q.norm(dim=-1), q.double().norm().expand(32), rtol=1e-6, atol=0)


def test_rotary_is_the_half_split_rotation() -> None:
    """Pair (x_i, x_{i + r/2}) at position t as a complex number, times exp(-i t base^(-2i/r)), in float64."""
    x = random(1, 32, 2, 16)
    pairs = torch.complex(x[..., :4].double(), x[..., 4:8].double())
    angle = torch.outer(torch.arange(32.0, dtype=torch.float64), 10_000 ** (-torch.arange(0, 8, 2) / 8).double())
    expected = pairs * torch.polar(torch.ones_like(angle), -angle)[None, :, None, :]
    found = rotated(x, dims=8).double()
    torch.testing.assert_close(torch.complex(found[..., :4], found[..., 4:8]), expected, rtol=0, atol=1e-5)
    assert torch.equal(found[..., 8:], x[..., 8:].double()), "what is not rotated passes through untouched"


def test_rotary_base_grows_with_the_training_length() -> None:
    partial = technique("position", "rotary", dims=16, ntk_reference_length=1024)
    full = technique("position", "rotary", dims=64, ntk_reference_length=1024)
    assert round(partial.effective_base(2048)) == 22_082
    assert round(full.effective_base(2048)) == 20_452
    assert partial.effective_base(1024) == partial.effective_base(512) == 10_000
    assert technique("position", "rotary", dims=16).effective_base(2048) == 10_000
    x = random(1, 32, 1, 16)
    grown = rotated(x, dims=8, ntk_reference_length=16)
    torch.testing.assert_close(grown, rotated(x, dims=8, base=10_000 * 2 ** (8 / 6)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dims", [0, 7, 18])
def test_rotary_dims_that_no_head_has_are_refused(dims: int) -> None:
    with pytest.raises(ValueError, match=f"found {dims}"):
        technique("position", "rotary", dims=dims).build(SHAPE, 32)


# Attention


def test_differential_attention() -> None:
    heads = technique("attention", "differential").build(SHAPE, 0)
    softmax = technique("attention", "softmax").build(SHAPE, 0)
    q, k, v = random(2, 9, 4, 16), random(2, 9, 2, 16, seed=1), random(2, 9, 2, 16, seed=2)
    set_all(heads.weight, 0.0)
    padded_q, padded_k = (torch.cat((x[..., :8], torch.zeros_like(x[..., 8:])), dim=-1) for x in (q, k))
    # zeros beyond the first half leave its products alone; sqrt 2 makes the scale that of 8 dims
    torch.testing.assert_close(heads(q, k, v), softmax(padded_q * math.sqrt(2), padded_k, v), rtol=0, atol=1e-5)
    set_all(heads.weight, 1.0)
    twice_q, twice_k = (torch.cat((x[..., :8], x[..., :8]), dim=-1) for x in (q, k))
    assert float(heads(twice_q, twice_k, v).detach().abs().max()) == 0.0


def test_differential_attention_begins_as_published_and_ends_with_softmax() -> None:
    deep = replace(SHAPE, num_layers=9)
    heads = [technique("attention", "differential").build(deep, layer) for layer in range(9)]
    starts = [round(float(one.weight.detach()[0]), 3) for one in heads[:7]]
    assert starts == [0.200, 0.356, 0.471, 0.556, 0.619, 0.666, 0.701]
    assert [list(one.parameters()) for one in heads[7:]] == [[], []]


def test_exclusive_self_attention_leaves_nothing_along_the_own_value() -> None:
    module = technique("attention_output", "exclusive").build(SHAPE, 2)
    y, v = random(2, 9, 4, 16), random(2, 9, 2, 16, seed=1)
    left = module(y, v, random(2, 9, 64))
    own = v.repeat_interleave(2, dim=2)
    along = (left * own).sum(-1) / own.norm(dim=-1)
    assert float(along.abs().max()) < 1e-5
    torch.testing.assert_close(
        y - left, own * ((y * own).sum(-1) / own.square().sum(-1)).unsqueeze(-1), rtol=0, atol=1e-5
    )
    first = technique("attention", "softmax").build(SHAPE, 2)(random(1, 1, 4, 16), random(1, 1, 2, 16), v[:1, :1])
    assert float(module(first, v[:1, :1], random(1, 1, 64)).abs().max()) < 1e-6, "the first token sees itself alone"


def test_exclusive_self_attention_is_in_the_last_layers() -> None:
    deep = replace(SHAPE, num_layers=11)
    layers = [technique("attention_output", "exclusive").build(deep, layer) is not None for layer in range(11)]
    assert layers == [False] * 7 + [True] * 4
    everywhere = technique("attention_output", "exclusive", last_layers=None)
    assert all(everywhere.build(deep, layer) is not None for layer in range(11))


def test_gated_attention_closes_head_by_head() -> None:
    module = technique("attention_output", "gated").build(SHAPE, 0)
    y, v, n = random(2, 9, 4, 16), random(2, 9, 2, 16), random(2, 9, 64, seed=1)
    torch.testing.assert_close(module(y, v, n), y * torch.sigmoid(torch.tensor(4.0)))
    with torch.no_grad():
        module.gate_bias.copy_(torch.tensor([-100.0, 100.0, 0.0, 0.0]))
        module.gate_weight[3, 0] = 2.0
    gated = module(y, v, n)
    assert float(gated[:, :, 0].detach().abs().max()) < 1e-30
    torch.testing.assert_close(gated[:, :, 1], y[:, :, 1])
    torch.testing.assert_close(gated[:, :, 3], y[:, :, 3] * torch.sigmoid(2 * n[..., :1]))


# Embedding and values

PAIRS = [(0, 0), (1, 63), (63, 1), (37, 41), (1023, 1022)]


def test_bigram_hash_buckets() -> None:
    shape = replace(SHAPE, vocab_size=1024)
    module = technique("embedding", "bigram_hash", buckets=97).build(shape)
    for before, token in PAIRS:
        buckets = module.bucket(torch.tensor([[before, token, before]]))[0].tolist()
        assert buckets == [96, (36_313 * token ^ 27_191 * before) % 96, (36_313 * before ^ 27_191 * token) % 96]


def test_linear_bigram_hash_buckets() -> None:
    shape = replace(SHAPE, vocab_size=1024)
    module = technique("embedding", "linear_bigram_hash", buckets=97).build(shape)
    for before, token in PAIRS:
        assert module.bucket(torch.tensor([[before, token]]))[0].tolist() == [before % 97, (1009 * before + token) % 97]


@pytest.mark.parametrize("name", ["bigram_hash", "linear_bigram_hash"])
def test_a_bigram_adds_nothing_at_first(name: str) -> None:
    with_it = model_of(tiny.with_technique(base(), "embedding", technique("embedding", name)))
    ids = tiny.stream(32)[None]
    x = with_it.table(ids)
    assert torch.equal(with_it.embedding[0].before_norm(x, ids), x)
    assert torch.equal(with_it.embedding[0].after_norm(x, ids), x)


@pytest.mark.parametrize("masks_bos", [True, False])
def test_smear_gate(masks_bos: bool) -> None:
    module = technique("embedding", "smear_gate", masks_bos=masks_bos).build(WIDE)
    x, ids = random(1, 4, 8), torch.tensor([[1, 5, 1, 6]])
    set_all(module.gate, math.log(3))  # sigmoid: 3/4
    smeared = module.after_norm(x, ids)
    plain = x / 4 + 3 * torch.cat((torch.zeros(1, 1, 8), x[:, :-1]), dim=1) / 4
    if masks_bos:
        plain[0, [0, 2]] = x[0, [0, 2]]
    torch.testing.assert_close(smeared, plain)
    set_all(module.gate, -200.0)
    assert torch.equal(module.after_norm(x, ids), x)


def test_shared_value_embedding() -> None:
    module = technique("values", "shared_value_embedding", dim=6, last_layers=2).build(SHAPE, ORDER)
    as_identity(module.projection)
    v, ids = random(2, 9, 2, 16), torch.randint(64, (2, 9))
    assert module(0, v, None, ids) is v
    with torch.no_grad():
        module.layer_scales[1].fill_(3.0)
    added = torch.zeros(2, 9, 32)
    added[..., :6] = module.table.weight[ids]
    torch.testing.assert_close(module(1, v, None, ids), v + 0.1 * added.view_as(v))
    torch.testing.assert_close(module(2, v, None, ids), v + 0.3 * added.view_as(v))
    set_all(module.scale, 0.0)
    assert torch.equal(module(2, v, None, ids), v)


def test_value_residual() -> None:
    module = technique("values", "value_residual").build(SHAPE, ORDER)
    v, first, ids = random(2, 9, 2, 16), random(2, 9, 2, 16, seed=1), torch.zeros(2, 9, dtype=torch.int64)
    assert module(0, v, None, ids) is v
    torch.testing.assert_close(module(1, v, first, ids), (v + first) / 2)


# Residual stream


def half(factor: float, seen: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """A half of a block that multiplies, and keeps what it was given."""

    def multiply(n: Tensor) -> Tensor:
        seen.append(n)
        return factor * n

    return multiply


def test_x0_mixing_begins_as_a_plain_residual_stream() -> None:
    module = technique("residual", "x0_mixing").build(WIDE, 3)
    x, x0, seen = random(2, 3, 8), random(2, 3, 8, seed=1), list[Tensor]()
    attended = x + 5 * rms_norm(x)
    assert torch.equal(module(x, x0, half(5.0, seen), half(7.0, seen), rms_norm), attended + 7 * rms_norm(attended))
    assert torch.equal(seen[0], rms_norm(x)) and torch.equal(seen[1], rms_norm(attended))
    set_mixes(module)
    z = x + 2 * x0
    attended = z + 3 * 5 * rms_norm(z)
    expected = attended + 4 * 7 * rms_norm(attended)
    torch.testing.assert_close(module(x, x0, half(5.0, seen), half(7.0, seen), rms_norm), expected)


def set_mixes(module: nn.Module) -> None:
    with torch.no_grad():
        module.resid_mix[1].fill_(2.0)
        module.attn_scale.fill_(3.0)
        module.mlp_scale.fill_(4.0)


def test_parallel_halves_read_the_same_input() -> None:
    """z + 3 attention(norm(z)) + 4 feed_forward(norm(z)) with z = x + 2 x0; before the first layer as ``x0_mixing``."""
    parallel = technique("residual", "parallel", first_layer=2)
    x, x0, seen = random(2, 3, 8), random(2, 3, 8, seed=1), list[Tensor]()
    modules = {layer: parallel.build(WIDE, layer) for layer in (1, 2)}
    for module in modules.values():
        set_mixes(module)
    z = x + 2 * x0
    expected = z + 3 * 5 * rms_norm(z) + 4 * 7 * rms_norm(z)
    torch.testing.assert_close(modules[2](x, x0, half(5.0, seen), half(7.0, seen), rms_norm), expected)
    assert seen[0] is seen[1], "one norm for both"
    plain = technique("residual", "x0_mixing").build(WIDE, 1)
    set_mixes(plain)
    assert torch.equal(*(one(x, x0, half(5.0, seen), half(7.0, seen), rms_norm) for one in (plain, modules[1])))


def test_parallel_blocks_have_the_parameters_of_the_others() -> None:
    shapes = [
        {name: one.shape for name, one in model_of(tiny.with_technique(base(), "residual", chosen)).named_parameters()}
        for chosen in (technique("residual", "x0_mixing"), technique("residual", "parallel"))
    ]
    assert shapes[0] == shapes[1]


def test_depth_scaling() -> None:
    x = random(2, 3, 8)
    norm = technique("normalization", "rms_norm", depth_scaled=True).build(WIDE, 3)
    torch.testing.assert_close(norm(x), rms_norm(x) / 2)
    torch.testing.assert_close(rms_norm(x).square().mean(-1), torch.ones(2, 3), rtol=0, atol=1e-5)
    residual = technique("residual", "x0_mixing", depth_scaled_init=True).build(WIDE, 3)
    halves = residual(x, x, lambda n: 0.0 * n, lambda n: x, rms_norm)
    torch.testing.assert_close(halves, 1.5 * x)


@pytest.mark.parametrize("name", ["unet_weights", "unet_gates"])
@pytest.mark.parametrize(("num_layers", "sources"), [(4, {2: 1, 3: 0}), (5, {2: 1, 3: 0}), (11, {5: 4, 9: 0})])
def test_skips_go_from_the_last_encoder_block_to_the_first_decoder_block(
    name: str, num_layers: int, sources: dict[int, int]
) -> None:
    """With odd L the last decoder block gets none: 11 layers are 5 encoders, 5 decoders with a skip, one without."""
    module = technique("skips", name).build(replace(WIDE, num_layers=num_layers), range(num_layers))
    outputs = [torch.full((1, 1, 8), 10.0 * (layer + 1)) for layer in range(num_layers)]
    with torch.no_grad():
        module.skip_weights.copy_(torch.arange(1.0, num_layers // 2 + 1)[:, None].expand(-1, 8))
    received = {}
    x = torch.ones(1, 1, 8)
    for layer in range(num_layers):
        after = module.enter(layer, x, outputs[:layer])
        if not torch.equal(after, x):
            place = layer - num_layers // 2  # of the decoder block, and of its weight
            skip = float(after[0, 0, 0].detach()) * (2 if name == "unet_gates" else 1) - 1
            received[layer] = round(skip / (place + 1) / 10) - 1
    encoders = num_layers // 2
    assert received == {encoders + place: encoders - 1 - place for place in range(encoders)}
    assert sources.items() <= received.items()
    assert module.leave(x, outputs) is x


def test_skip_gates_open_and_close() -> None:
    module = technique("skips", "unet_gates").build(replace(WIDE, num_layers=2), range(2))
    x, outputs = random(1, 3, 8), [random(1, 3, 8, seed=1)]
    torch.testing.assert_close(module.enter(1, x, outputs), (x + outputs[0]) / 2)
    set_all(module.skip_gates, 100.0)
    torch.testing.assert_close(module.enter(1, x, outputs), x)


def test_backout_takes_out_the_middle_block() -> None:
    module = technique("skips", "backout").build(replace(WIDE, num_layers=5), range(5))
    x, outputs = random(1, 3, 8), [random(1, 3, 8, seed=layer) for layer in range(5)]
    assert module.enter(3, x, outputs[:3]) is x
    torch.testing.assert_close(module.leave(x, outputs), x - 0.2 * outputs[2])
    set_all(module.weight, 0.0)
    assert torch.equal(module.leave(x, outputs), x)


# Initialization


def test_orthogonal_initialization() -> None:
    recipe = tiny.with_technique(base(), "initialization", technique("initialization", "orthogonal"))
    recipe = tiny.with_technique(recipe, "embedding", technique("embedding", "bigram_hash"))
    model = model_of(recipe)
    block = model.blocks[0]
    up, query, small = block.feed_forward.up.weight, block.attention.query.weight, block.attention.key.weight
    torch.testing.assert_close(up.T @ up, torch.eye(64), rtol=0, atol=1e-5)
    torch.testing.assert_close(query @ query.T, torch.eye(64), rtol=0, atol=1e-5)
    assert small.shape == (32, 64) and float(small.detach().abs().max()) <= 1 / 8, "smaller layers keep torch's default"
    projection = model.embedding[0].projection.weight  # 128 to 64
    torch.testing.assert_close(projection @ projection.T, torch.eye(64) / 6, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", tiny.catalog().families["initialization"].techniques)
def test_output_layers_start_at_zero(name: str) -> None:
    model = model_of(tiny.with_technique(base(), "initialization", technique("initialization", name)))
    for path, layer in model.named_modules():
        if isinstance(layer, Linear):
            is_output = path.endswith(("attention.output", "feed_forward.down"))
            assert is_output == layer.starts_at_zero == (not layer.weight.any()), path


def test_torch_default_initialization() -> None:
    weight = model_of(base()).blocks[0].feed_forward.up.weight.detach()
    assert float(weight.abs().max()) <= 1 / 8
    assert float(weight.std()) == pytest.approx(1 / 8 / math.sqrt(3), rel=0.03)
