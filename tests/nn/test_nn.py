"""Reasoners as Flax modules: NNX and Linen, under every transformation, on one device and on eight."""

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import scallax
from scallax import CheckpointError, InputError, nn
from scallax.checkpoint import flax_state
from tests.compilations import counted_compilations

PROGRAM = """
rel edge = {0.3::(0, 1), 0.6::(1, 2)}
rel color = {0.2::(0, "r"); 0.35::(0, "g")}
rel 0.7::path(x, y) = edge(x, y) or back(y, x)
rel 0.45::path(x, z) = path(x, y), edge(y, z)
rel out(x, y, c) = path(x, y), color(0, c)
"""
OPTIONS: dict[str, Any] = {
    "provenance": "difftopkproofs",
    "k": 5,
    "trainable": ["path", "edge", "color"],
    "input_mappings": {"back": [(1, 0), (2, 1), (2, 0)]},
    "output_mapping": ("out", [(0, 1, "r"), (0, 2, "g")]),
}


def options(**changes: Any) -> dict[str, Any]:
    return {**OPTIONS, **changes}


NAMES = ["color.facts", "edge.facts", "path.rules.0", "path.rules.1"]


@pytest.fixture(scope="module")
def reasoner() -> scallax.Reasoner:
    return scallax.Reasoner(PROGRAM, **OPTIONS)


@pytest.fixture
def module(reasoner) -> nn.Reasoner:
    return nn.Reasoner(reasoner)


@pytest.fixture
def back() -> jax.Array:
    return jnp.array([[0.1, 0.2, 0.35], [0.5, 0.65, 0.75]])


@pytest.fixture
def optax_promotes():
    """Optax and Flax rely on promotions that are off in these tests."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def variables_of(module: nnx.Module) -> list[nnx.Variable]:
    return [node for _, node in nnx.iter_graph(module) if isinstance(node, nnx.Variable)]


def names(state) -> list[str]:
    return [".".join(map(str, path)) for path, _ in nnx.to_flat_state(state)]


def test_a_module_is_its_reasoner_with_parameters(reasoner, module, back):
    np.testing.assert_array_equal(module(back=back), reasoner(back=back))
    assert names(nnx.state(module, nnx.Param)) == names(nnx.state(module)) == NAMES
    assert list(module.parameters) == NAMES
    assert nn.Reasoner(PROGRAM, **OPTIONS).specification == reasoner.specification
    module.edge["facts"][...] = module.edge["facts"][...] + 1
    np.testing.assert_array_equal(module(back=back), reasoner.apply(module.parameters, back=back))
    np.testing.assert_allclose(
        module.probabilities()["edge.facts"], jax.nn.sigmoid(reasoner.parameters["edge.facts"] + 1), rtol=1e-6
    )


def test_train_and_eval_choose_k(back):
    module = nn.Reasoner(PROGRAM, **options(train_k=5, test_k=1))
    training, testing = (scallax.Reasoner(PROGRAM, **options(k=k))(back=back) for k in (5, 1))
    assert not np.allclose(training, testing)
    np.testing.assert_array_equal(module(back=back), training)
    module.eval()
    np.testing.assert_array_equal(module(back=back), testing)
    module.train()
    np.testing.assert_array_equal(module(back=back), training)


@pytest.mark.usefixtures("optax_promotes")
def test_a_module_trains_with_optax(module, back):
    target = jnp.array([[0.1, 0.05], [0.2, 0.1]])
    optimizer = nnx.Optimizer(module, optax.adam(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(module, optimizer):
        loss, gradients = nnx.value_and_grad(lambda m: ((m(back=back) - target) ** 2).sum())(module)
        optimizer.update(module, gradients)
        return loss

    losses = [float(step(module, optimizer)) for _ in range(60)]
    assert losses[-1] < losses[0] / 20


def test_split_and_merge(module, back):
    graph, state = nnx.split(module)
    np.testing.assert_array_equal(nnx.merge(graph, state)(back=back), module(back=back))
    gradients = jax.grad(lambda state: nnx.merge(graph, state)(back=back).sum())(state)
    expected = jax.grad(lambda p: module.reasoner.apply(p, back=back).sum())(module.parameters)
    for (path, gradient), name in zip(nnx.to_flat_state(gradients), NAMES, strict=True):
        np.testing.assert_allclose(gradient[...], expected[name], rtol=1e-6, err_msg=str(path))


def test_equal_modules_share_a_compilation(back):
    call = nnx.jit(lambda module, back: module(back=back))
    first, second = nn.Reasoner(PROGRAM, **OPTIONS), nn.Reasoner(PROGRAM, **OPTIONS)
    assert nnx.graphdef(first) == nnx.graphdef(second)
    assert hash(nnx.graphdef(first)) == hash(nnx.graphdef(second))
    call(first, back)
    with counted_compilations() as compiled:
        call(second, back)
        call(first, back)
    assert not compiled
    assert nnx.graphdef(first) != nnx.graphdef(nn.Reasoner(PROGRAM, **options(k=4)))


def test_every_transformation_agrees(back):
    module = nn.Reasoner(PROGRAM, **options(provenance="diffaddmultprob"))
    expected = module(back=back)
    np.testing.assert_allclose(
        nnx.vmap(lambda m, p: m(back=p[None])[0], in_axes=(None, 0))(module, back), expected, rtol=1e-6
    )
    np.testing.assert_allclose(jax.vmap(lambda p: module(back=p[None])[0])(back), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda p: module(back=p))(back), expected, rtol=1e-6)

    def total(back):
        return module(back=back).sum()

    def by_scan(back):
        return jax.lax.scan(lambda sum, p: (sum + module(back=p[None]).sum(), None), 0.0, back)[0]

    gradient = jax.grad(total)(back)
    np.testing.assert_allclose(jax.grad(jax.checkpoint(total))(back), gradient, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(by_scan)(back), gradient, rtol=1e-6)
    np.testing.assert_allclose(by_scan(back), total(back), rtol=1e-6)


def test_copies_and_pickles(module, back):
    module.edge["facts"][...] = module.edge["facts"][...] - 1
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), nnx.clone(module)):
        np.testing.assert_array_equal(other(back=back), module(back=back))


def test_the_linen_twin(reasoner, back):
    module = nn.LinenReasoner(PROGRAM, **OPTIONS)
    assert module == nn.LinenReasoner(PROGRAM, **OPTIONS)
    assert hash(module) == hash(nn.LinenReasoner(PROGRAM, **OPTIONS))
    assert module != nn.LinenReasoner(PROGRAM, **options(k=4))
    variables = module.init(jax.random.key(0), back=back)
    assert list(variables["params"]) == NAMES
    np.testing.assert_array_equal(module.apply(variables, back=back), reasoner(back=back))
    moved = jax.tree.map(lambda logits: logits + 1, variables["params"])
    np.testing.assert_array_equal(module.apply({"params": moved}, back=back), reasoner.apply(moved, back=back))


@pytest.mark.usefixtures("optax_promotes")
def test_the_linen_twin_stands_in_a_model_and_chooses_k(back):
    class Model(linen.Module):
        deterministic: bool = False

        @linen.compact
        def __call__(self, x):
            reasoner = nn.LinenReasoner(PROGRAM, **OPTIONS, test_k=1, deterministic=self.deterministic, name="reasoner")
            return reasoner(back=linen.sigmoid(linen.Dense(3)(x)))

    variables = Model().init(jax.random.key(0), back)
    assert list(variables["params"]["reasoner"]) == NAMES
    gradients = jax.grad(lambda v: jax.jit(Model().apply)(v, back).sum())(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    training, testing = (np.asarray(Model(mode).apply(variables, back)) for mode in (False, True))
    assert not np.allclose(training, testing)


def test_another_k_for_the_same_variables(module):
    twin = module.with_k(1)
    assert all(one is other for one, other in zip(*map(variables_of, (module, twin)), strict=True))
    assert (twin.specification.k, module.specification.k) == (1, 5)
    expected = nn.LinenReasoner(PROGRAM, **OPTIONS, test_k=2).with_k(1)
    assert expected == nn.LinenReasoner(PROGRAM, **options(k=1))


def test_a_relation_named_like_an_attribute_is_one_error():
    with pytest.raises(InputError, match=r"^`trainable`: a Flax module has an attribute `train`, which the relation"):
        nn.Reasoner("rel train = {0.5::0}", trainable=["train"], output_mapping=("train", [0]))


class Model(nnx.Module):
    """A network with every kind of state around a reasoner."""

    def __init__(self, seed: int, **options):
        rngs = nnx.Rngs(seed)
        self.encoder = nnx.Sequential(
            nnx.Linear(3, 4, rngs=rngs),
            nnx.BatchNorm(4, rngs=rngs),
            nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(4, 3, rngs=rngs),
        )
        self.reasoner = nn.Reasoner(PROGRAM, **{**OPTIONS, **options})
        self.offset = jnp.full(3, float(seed))

    def __call__(self, x):
        return self.reasoner(back=nnx.sigmoid(self.encoder(x) + self.offset))


@nnx.jit
def train_step(model, optimizer, x):
    loss, gradients = nnx.value_and_grad(lambda m: ((m(x) - 0.3) ** 2).sum())(model)
    optimizer.update(model, gradients)
    return loss


@pytest.mark.usefixtures("optax_promotes")
def test_a_restored_model_goes_on_exactly(back):
    x = jnp.ones((4, 3))
    model = Model(0)
    optimizer = nnx.Optimizer(model, optax.adam(0.05), wrt=nnx.Param)
    for _ in range(3):
        train_step(model, optimizer, x)
    artifact = flax_state.artifact_of(model, optimizer)
    assert list(artifact.specifications) == ["reasoner"]
    losses = [float(train_step(model, optimizer, x)) for _ in range(3)]
    other = Model(1)
    other_optimizer = nnx.Optimizer(other, optax.adam(0.05), wrt=nnx.Param)
    flax_state.restore(artifact, other, other_optimizer)
    assert [float(train_step(other, other_optimizer, x)) for _ in range(3)] == losses
    flax_state.restore(artifact, other)
    np.testing.assert_array_equal(other.reasoner.parameters["edge.facts"], artifact.tensors["reasoner.edge.facts"])


def test_a_model_takes_all_of_an_artifact_or_nothing():
    artifact = flax_state.artifact_of(Model(0))
    other = Model(1, k=4)
    other.encoder = nnx.Sequential(nnx.Linear(3, 5, rngs=nnx.Rngs(0)))
    before = flax_state.artifact_of(other).tensors
    with pytest.raises(CheckpointError) as caught:
        flax_state.restore(artifact, other)
    problems = [diagnostic.message for diagnostic in caught.value.diagnostics]
    assert "reasoner `reasoner`: k: was 5, is 4" in problems
    assert "build the model with k=5, as it was saved, and take `with_k(4)` after loading" in str(caught.value)
    assert "tensor `encoder.layers.0.kernel`: was float32 [3, 4], is float32 [3, 5]" in problems
    assert "tensor `encoder.layers.1.mean`: was float32 [4], is none" in problems
    for name, value in flax_state.artifact_of(other).tensors.items():
        np.testing.assert_array_equal(value, before[name])


def test_float64_parameters_are_not_cut(reasoner):
    artifact = flax_state.artifact_of(nn.Reasoner(reasoner))
    wide = {name: value.astype(np.float64) + 1e-12 for name, value in artifact.tensors.items()}
    with pytest.raises(InputError, match=r"^the parameters are float64, which this JAX would cut to float32"):
        nn.Reasoner(reasoner.with_parameters(wide))
    with jax.enable_x64(True):
        for name, value in nn.Reasoner(reasoner.with_parameters(wide)).parameters.items():
            np.testing.assert_array_equal(value, wide[name])


def test_eight_devices_answer_like_one():
    code = """
        import jax, numpy as np, scallax
        from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

        PROGRAM = '''
        rel weight = {0.3::0, 0.6::1}
        rel 0.7::path(x, y) = edge(x, y)
        rel path(x, z) = path(x, y), edge(y, z), weight(0)
        rel safe(x) = path(0, x), not path(x, 0)
        '''
        EDGES = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 1)]
        p = np.random.default_rng(0).random((16, 5)).astype(np.float32)
        kinds = {"diffaddmultprob": AxisType.Explicit, "difftopkproofs": AxisType.Auto}
        for provenance, kind in kinds.items():
            reasoner = scallax.Reasoner(
                PROGRAM, provenance=provenance, k=1, trainable=["weight", "path"],
                input_mappings={"edge": EDGES}, output_mapping=("safe", range(4)))

            def loss(parameters, p):
                return (reasoner.apply(parameters, edge=p) ** 2).sum()

            mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
            shards = jax.device_put(p, NamedSharding(mesh, P("data")))
            eager = jax.shard_map(lambda p: reasoner(edge=p), mesh=mesh, in_specs=P("data"), out_specs=P("data"))
            if provenance == "diffaddmultprob":
                first = eager(shards)
            on_one = reasoner(edge=jax.numpy.asarray(p))
            values = reasoner(edge=p)
            gradients = jax.grad(loss, argnums=(0, 1))(reasoner.parameters, p)

            def check(actual, expected):
                for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
                    # Sums over samples are added up in another order.
                    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

            check(on_one, values)
            if provenance == "diffaddmultprob":
                check(first, values)
            check(reasoner(edge=shards), values)
            compiled = jax.jit(lambda p: reasoner(edge=p))(shards)
            assert compiled.sharding.spec[0] == "data", compiled.sharding
            check(compiled, values)
            check(jax.jit(jax.grad(loss, argnums=(0, 1)))(reasoner.parameters, shards), gradients)
            mapped = jax.shard_map(lambda p: reasoner(edge=p), mesh=mesh, in_specs=P("data"), out_specs=P("data"))
            check(jax.jit(mapped)(shards), values)
            summed = jax.shard_map(
                lambda q, p: jax.lax.psum(loss(q, p), "data"), mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
            check(jax.jit(jax.grad(summed, argnums=(0, 1)))(reasoner.parameters, shards), gradients)
        print(jax.device_count())
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {"XLA_FLAGS": flags, "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout == "8\n", done.stderr
