"""The heads that are compared, the ways from a vote to a score, the selectors and the plan of the evidence."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from evidence import box_scores
from evidence.plan import HEADS, PLAN, SCHEDULES, SEEDS, Head
from evidence.selectors import SELECTORS, Gate, Samples, StageWeights, fit, oracle
from evidence.variants import Variant, VariantConv2d, VariantLinear
from ffc_dense import FFCConv2d, FFCLinear
from ffc_dense.method.filtering import interpolate_outputs

C, K = 12, 5
KINDS = [
    pytest.param(nn.Linear(C, K), FFCLinear, VariantLinear, (7, C), -1, id="linear"),
    pytest.param(nn.Conv2d(C, K, 1), FFCConv2d, VariantConv2d, (2, C, 3, 4), -3, id="conv"),
]


@pytest.mark.parametrize(("stock", "ffc", "variant", "shape", "dim"), KINDS)
@pytest.mark.parametrize("options", [{}, {"num_filters": 1}, {"num_filters": 5}, {"interpolate": False}])
def test_the_default_variant_is_ffc(stock, ffc, variant, shape, dim, options, scramble):
    ours = scramble(variant.from_layer(stock, Variant(**options)))
    theirs = ffc.from_layer(stock, **options)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x))
    for reduction in ("vote", "mean", "out1", f"out{ours.num_outputs}"):
        ours.test_reduce = theirs.test_reduce = reduction
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("stock", "ffc", "variant", "shape", "dim"), KINDS)
@pytest.mark.parametrize("num_filters", [0, 3])
def test_the_normalised_variant_is_the_public_option(stock, ffc, variant, shape, dim, num_filters, scramble):
    ours = scramble(variant.from_layer(stock, Variant(num_filters, normalize_input=True)))
    theirs = ffc.from_layer(stock, num_filters=num_filters, normalize_input=True)
    for norm, same in zip(theirs.filters, ours.filters, strict=False):  # ours has the first LayerNorm as its last
        norm.load_state_dict(same.state_dict())
    theirs.input_norm.load_state_dict(ours.filters[-1].state_dict())
    x = torch.randn(shape)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("stock", "ffc", "variant", "shape", "dim"), KINDS)
@pytest.mark.parametrize("head", ["ln", "ln_relu", "stock_scale10"])
def test_each_control_is_one_step_before_the_stock_classifier(stock, ffc, variant, shape, dim, head, literal, scramble):
    layer = scramble(variant.from_layer(stock, HEADS[head].variant))
    x = torch.randn(shape)
    if head == "stock_scale10":
        feature = 10 * x
    else:  # F_1 of the literal chain is ReLU(LN(x)); without the ReLU, LN(x) = F_1(x) - F_1 of minus the layer norm
        feature = literal.stages(x, list(layer.filters), dim)[1]
        if head == "ln":
            mirrored = nn.LayerNorm(C)
            mirrored.weight.data, mirrored.bias.data = -layer.filters[0].weight.data, -layer.filters[0].bias.data
            feature = feature - literal.stages(x, [mirrored], dim)[1]
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode)(x), stock(feature), rtol=1e-4, atol=1e-5)
    assert layer.num_outputs == 1


@pytest.mark.parametrize(("stock", "ffc", "variant", "shape", "dim"), KINDS)
def test_each_variant_changes_what_its_name_says(stock, ffc, variant, shape, dim, literal, scramble):
    x = torch.randn(shape)

    def logits(**options):
        torch.manual_seed(1)
        layer = scramble(variant.from_layer(stock, Variant(num_filters=2, **options)))
        with torch.no_grad():
            for name in ("stage_bias", "stage_scale"):
                if getattr(layer, name) is not None:
                    getattr(layer, name).fill_(3)
        return layer.stage_logits(x), list(layer.filters)

    plain, norms = logits()
    stages = literal.stages(x, norms, dim)
    assert all(torch.allclose(a, stock(stage), atol=1e-5) for a, stage in zip(plain, stages, strict=True))
    later, _ = logits(classify_input=False)
    assert len(later) == 2 and all(torch.equal(a, b) for a, b in zip(later, plain[1:], strict=True))
    normal, (*norms, first) = logits(normalize_input=True)
    mirrored = nn.LayerNorm(C)
    mirrored.weight.data, mirrored.bias.data = -first.weight.data, -first.bias.data
    feature = literal.stages(x, [first], dim)[1] - literal.stages(x, [mirrored], dim)[1]  # without its ReLU
    expected = literal.stages(feature, norms, dim)
    assert all(torch.allclose(a, stock(stage), atol=1e-5) for a, stage in zip(normal, expected, strict=True))
    assert torch.allclose(logits(residual=True)[0][1], stock(stages[0] + stages[1]), atol=1e-5)
    opened, _ = logits(last_relu=False)
    assert torch.equal(opened[1], plain[1]) and not torch.allclose(opened[2], plain[2])
    biased, _ = logits(stage_bias=True)
    assert torch.equal(biased[0], plain[0]) and torch.allclose(biased[2], plain[2] + 3)
    scaled, _ = logits(stage_scale=True)
    assert torch.equal(scaled[0], plain[0]) and torch.allclose(scaled[2], plain[2] * 3)
    frozen = variant.from_layer(stock, Variant(affine=False))
    assert not any(parameter.requires_grad for parameter in frozen.filters.parameters())


def test_every_ablation_changes_one_thing_of_ffc_or_stock_and_the_combined_ones_two():
    for name, head in HEADS.items():
        base = HEADS["stock" if name.startswith("stock") and head.variant is None else "ffc"]
        changed = {each.name for each in fields(Head) if getattr(head, each.name) != getattr(base, each.name)}
        within = [f.name for f in fields(Variant) if head.variant and getattr(head.variant, f.name) != f.default]
        expected = {"stock": 0, "ffc": 0, "ffc_normal_every": 2, "stock_lr10_init10": 2}.get(name, 1)
        if name.startswith(("ffc", "stock_lr", "stock_init")):
            assert len(changed - {"title", "shown", "variant"}) + len(within) == expected, name


def test_the_plan_has_each_run_once_all_seeds_at_the_longest_schedule_and_three_elsewhere():
    assert len(set(PLAN)) == len(PLAN)
    for kind in {(run.task, run.head, run.iterations) for run in PLAN}:
        seeds = {run.seed for run in PLAN if (run.task, run.head, run.iterations) == kind}
        longest = kind[2] == SCHEDULES[kind[0]][-1]
        assert seeds == set(SEEDS if longest else SEEDS[: len(seeds)]) and len(seeds) >= 3, kind


# Two boxes, three outputs, two classes and the background. Box 0: two outputs for class 0, one, surer, for class 1.
OUTPUTS = torch.tensor([
    [[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]],
    [[0.5, 0.4, 0.1], [0.1, 0.1, 0.8]],
    [[0.1, 0.8, 0.1], [0.3, 0.4, 0.3]],
]).log()  # fmt: skip
BY_HAND = {
    "vote": [[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]],
    "mean of probabilities": [[0.4, 0.5, 0.1], [0.2, 0.7 / 3, 1.7 / 3]],
    "mean of the agreeing": [[0.55, 0.35, 0.1], [0.15, 0.15, 0.7]],
    "vote share x winner": [[0.4, 0.2, 0.2 / 3], [0.2 / 3, 0.2 / 3, 1.6 / 3]],
    "per class: share x confidence": [[1.1 / 3, 0.8 / 3, 0.0], [0.0, 0.4 / 3, 1.4 / 3]],
    "per class: maximum": [[0.6, 0.8, 0.1], [0.3, 0.4, 0.8]],
    "per class: smoothed share x mean": [[0.4 * 0.75, 0.5 * 0.5, 0.1 * 0.25], [0.2 * 0.25, 0.7 / 6, 1.7 / 4]],
}


@pytest.mark.parametrize("rule", BY_HAND)
def test_each_rule_gives_the_scores_that_were_worked_by_hand(rule):
    torch.testing.assert_close(box_scores.RULES[rule](OUTPUTS), torch.tensor(BY_HAND[rule]))


def test_the_mean_of_logits_is_the_normalised_geometric_mean():
    geometric = OUTPUTS.exp().prod(0) ** (1 / 3)
    torch.testing.assert_close(box_scores.RULES["mean"](OUTPUTS), geometric / geometric.sum(-1, keepdim=True))


@pytest.mark.parametrize("outputs", [torch.zeros(7, 3, 4), torch.zeros(7, 0, 4), torch.full((7, 2, 4), 1e30)])
def test_constant_empty_and_huge_outputs_have_scores_in_range(outputs):
    for rule in (*box_scores.RULES.values(), box_scores.single(7)):
        scores = rule(outputs)
        assert scores.shape == outputs.shape[1:] and bool(((scores >= 0) & (scores <= 1)).all())


def samples(n=400, stages=3, seed=0):
    """Two classes; a sample's statistic tells which of the stages knows its class, the others guess."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n,), generator=generator)
    knows = torch.randint(stages, (n,), generator=generator)
    logits = 4 * torch.randn(stages, n, 2, generator=generator)
    logits[knows, torch.arange(n)] = 4 * nn.functional.one_hot(labels, 2).float()
    active = nn.functional.one_hot(knows, stages).float().T
    return Samples.of(logits, active, torch.ones(stages, n)), labels


def accuracy(log_probability, labels):
    return (log_probability.argmax(-1) == labels).float().mean().item()


def test_a_gate_finds_the_stage_that_knows_and_fixed_weights_cannot():
    (train, truth), (test, labels) = samples(), samples(seed=1)
    found = {name: accuracy(fit(build(train, False), train, truth)(test), labels) for name, build in SELECTORS.items()}
    best = accuracy(oracle(test, labels), labels)
    assert found["selector: gate"] > 0.97 and found["selector: hard gate"] > 0.97 and best >= 0.99
    assert found["selector: stage weights"] < 0.9


@pytest.mark.parametrize("interpolate", [True, False])
def test_an_unfitted_selector_is_ffcs_mean(interpolate):
    train, _ = samples()
    outputs = torch.stack(interpolate_outputs(list(train.logits)) if interpolate else list(train.logits))
    torch.testing.assert_close(StageWeights(train, interpolate)(train), outputs.mean(0).log_softmax(-1))
    mixture = outputs_mixture(train, interpolate)
    torch.testing.assert_close(Gate(train, interpolate)(train).exp(), mixture)


def outputs_mixture(train, interpolate):
    shares = {True: [1.5 / 5, 2 / 5, 1.5 / 5], False: [1 / 3] * 3}[interpolate]
    return sum(share * logits.softmax(-1) for share, logits in zip(shares, train.logits, strict=True))


def test_selectors_of_tied_and_constant_samples_stay_finite():
    train = Samples.of(torch.zeros(3, 20, 4), torch.ones(3, 20), torch.zeros(3, 20))
    for build in SELECTORS.values():
        assert torch.isfinite(fit(build(train, True), train, torch.zeros(20, dtype=torch.long))(train)).all()


def test_the_oracle_is_no_worse_than_any_stage():
    test, labels = samples(seed=2)
    best = accuracy(oracle(test, labels), labels)
    assert all(best >= accuracy(logits, labels) for logits in test.logits)


def test_a_single_stage_is_scaled_only():
    train, truth = samples()
    one = replace(train, logits=train.logits[:1])
    fitted = fit(StageWeights(one, False), one, truth)(one)
    assert torch.equal(fitted.argmax(-1), one.logits[0].argmax(-1))
