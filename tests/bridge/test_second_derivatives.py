"""Forward mode and second derivatives through tensors, against torch's own of the same polynomials."""

from typing import Any

import pytest
import torch

from scallax import UnsupportedError
from tests.nightly import with_rest_at_night
from torch_bridge import Module

# Torch makes its own rules of forward mode by it.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

PROVENANCES = with_rest_at_night(
    ["exact", "difftopkproofs", "diffaddmultprob", "diffmaxmultprob", "diffnandmultprob", "difftopbottomkclauses"],
    ["exact"],
)
PROGRAM = "rel out(x + y) = a(x), b(y) rel 0.4::out(x) = a(x), not b(x)"
OPTIONS: dict[str, Any] = {
    "input_mappings": {"a": range(2), "b": range(2)},
    "output_mapping": ("out", range(3)),
    "trainable": ["out"],
    "k": 4,
}


def module(provenance: str = "exact", **options: Any) -> Module:
    return Module(PROGRAM, provenance=provenance, **{**OPTIONS, **options}).double()


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    # Below 1 in sum, so that no sum is clamped.
    a = torch.tensor([[0.3, 0.2], [0.25, 0.35]], dtype=torch.float64)
    return a, torch.tensor([[0.15, 0.3], [0.25, 0.4]], dtype=torch.float64)


def some(*events: torch.Tensor) -> torch.Tensor:
    """The probability that some of independent events happens."""
    none = torch.ones_like(events[0])
    for event in events:
        none = none * (1 - event)
    return 1 - none


def by_hand(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The probabilities of the program, whose rule holds with 0.4."""
    (a0, a1), (b0, b1), r = a.unbind(1), b.unbind(1), 0.4
    # Both worlds of the facts that the two derivations of a sum share.
    first = a0 * (b0 + (1 - b0) * r)
    second = b0 * b1 * some(a0, a1) + b0 * (1 - b1) * a1 + (1 - b0) * b1 * a0
    # The tagged rule derives 1 from a(1) and not b(1).
    second = second + r * a1 * (1 - b1) * (1 - b0)
    return torch.stack([first, second, a1 * b1], 1)


@pytest.fixture(scope="module")
def rules() -> Module:
    return module()


def of_rule(rules: Module, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return rules(a=a, b=b)


def test_hessians_are_those_of_the_polynomials(rules):
    a, b = inputs()
    torch.testing.assert_close(of_rule(rules, a, b).detach(), by_hand(a, b), rtol=1e-6, atol=1e-7)

    def loss(function):
        return lambda a, b: (function(a, b) ** 3).sum()

    expected = torch.autograd.functional.hessian(loss(by_hand), (a, b))
    actual = [
        torch.autograd.functional.hessian(loss(lambda a, b: of_rule(rules, a, b)), (a, b)),
        torch.func.hessian(loss(lambda a, b: of_rule(rules, a, b)), argnums=(0, 1))(a, b),
        torch.func.jacrev(torch.func.jacrev(loss(lambda a, b: of_rule(rules, a, b)), argnums=(0, 1)), argnums=(0, 1))(
            a, b
        ),
    ]
    for found in actual:
        # The rule's weight is that of a float32 logit.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("provenance", PROVENANCES)
def test_derivatives_of_both_orders_are_finite_differences(provenance: str):
    rules = module(provenance)
    names = [name for name, _ in rules.named_parameters()]

    def call(a, b, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(rules, given, kwargs={"a": a, "b": b})

    given = (*(tensor.requires_grad_() for tensor in inputs()), *rules.parameters())
    assert torch.autograd.gradcheck(call, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(call, given)


def test_tangents_are_mapped_and_pushed(rules):
    a, b = inputs()
    directions = torch.eye(2, dtype=torch.float64)[:, None].expand(2, 2, 2)

    def push(function):
        def along(direction):
            return torch.func.jvp(lambda a: function(a, b), (a,), (direction,))[1]

        return torch.func.vmap(along)(directions)

    # The rule's weight is that of a float32 logit.
    torch.testing.assert_close(push(lambda a, b: of_rule(rules, a, b)), push(by_hand), rtol=1e-5, atol=1e-6)


def test_a_gradient_penalty_learns(rules):
    a, b = (tensor.float().double() for tensor in inputs())
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def penalty(function):
        moved = a + shift
        (gradient,) = torch.autograd.grad(function(moved, b)[:, 1].sum(), moved, create_graph=True)
        return torch.autograd.grad((gradient**2).sum(), shift)[0]

    torch.testing.assert_close(penalty(lambda a, b: of_rule(rules, a, b)), penalty(by_hand), rtol=1e-5, atol=1e-6)


def test_an_influence_function_is_the_change_after_a_sample_is_weighed_more(rules):
    """A loss with one weight: its optimum moves by H^-1 times the sample's gradient (Cook and Weisberg, 1980)."""
    a, b = inputs()
    wanted = torch.tensor([0.3, 0.1], dtype=torch.float64)

    def loss(x, weights):
        return (weights * (of_rule(rules, a * torch.sigmoid(x), b)[:, 1] - wanted) ** 2).sum()

    even = torch.ones(2, dtype=torch.float64)

    def optimum(weights):
        x = torch.zeros((), dtype=torch.float64)
        for _ in range(8):  # Newton's method, quadratic from here
            x = x - torch.func.grad(loss)(x, weights) / torch.func.hessian(loss)(x, weights)
        return x

    x = optimum(even)
    one = torch.tensor([1.0, 0.0], dtype=torch.float64)
    influence = -torch.func.grad(loss)(x, one) / torch.func.hessian(loss)(x, even)
    step = 1e-4 * one
    # A central difference errs by the square of the step.
    expected = (optimum(even + step) - optimum(even - step)) / 2e-4
    torch.testing.assert_close(influence, expected, rtol=1e-5, atol=1e-8)


def test_facts_per_sample_have_second_derivatives():
    rules = Module("type e(i32) rel out() = e(x), not e(x + 1)", provenance="exact", output_mapping=("out", [()]))

    def call(p):
        samples = [[(p[0], (0,)), (p[1], (1,))], [(p[2], (5,)), (0.5, (6,))]]
        return rules(e=samples)

    p = torch.tensor([0.3, 0.6, 0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (p,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(call, (p,))
    with pytest.raises(UnsupportedError, match=r"^forward mode over gradients of facts per sample is not supported\n"):
        torch.func.jvp(torch.func.grad(lambda p: call(p).sum()), (p.detach(),), (p.detach(),))


def test_a_third_derivative_is_one_error(rules):
    a, b = inputs()
    a.requires_grad_()
    first = torch.autograd.grad((of_rule(rules, a, b) ** 2).sum(), a, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), a, create_graph=True)[0]
    with pytest.raises(UnsupportedError, match=r"^third derivatives of a reasoner are not supported\nhint: detach"):
        torch.autograd.grad(second.sum(), a)
