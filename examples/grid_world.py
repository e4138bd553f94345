"""Learns to see an arena from nothing but the rewards of walking through it, in JAX alone.

An agent is to reach a goal and to meet no enemy. A network reads a picture of the arena; rules that know how one moves,
but not what anything looks like, plan the way; and all that is told after a walk is whether the goal was reached.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import scallax.nn

SIDE, ENEMIES, MOVES = 5, 5, 14
UPDATES, ARENAS, TEST_ARENAS = 100, 64, 1000
STEPS = [(-1, 0), (1, 0), (0, -1), (0, 1)]
# All ways to the goal count, each move by 0.2. So no place is worth as much as the best of its four neighbours, and who
# always goes to the best one arrives.
RULES = f"""
    type agent(row: i32, column: i32), goal(row: i32, column: i32), enemy(row: i32, column: i32)
    rel cell = {{{", ".join(f"({i}, {j})" for i in range(SIDE) for j in range(SIDE))}}}
    rel action = {{{", ".join(f"({a}, {i}, {j})" for a, (i, j) in enumerate(STEPS))}}}
    rel safe(i, j) = cell(i, j) and not enemy(i, j)
    rel move(i, j, a, i + di, j + dj) = cell(i, j) and action(a, di, dj) and safe(i + di, j + dj)
    rel worth(i, j) = goal(i, j)
    rel 0.2::worth(i, j) = move(i, j, _, k, l) and worth(k, l)
    rel choice(a) = agent(i, j) and move(i, j, a, k, l) and worth(k, l)
"""
CELLS = [[(i, j) for j in range(SIDE)] for i in range(SIDE)]
MAPPINGS = {"input_mappings": dict.fromkeys(["agent", "goal", "enemy"], CELLS), "output_mapping": ("choice", range(4))}
# The same rules with what is certain tell which arenas have a safe way at all.
HAS_WAY = scallax.Reasoner(RULES, provenance="bool", **MAPPINGS)
# The looks of an empty cell, an agent, a goal and an enemy.
PATTERNS = np.random.default_rng(0).integers(2, size=(4, 5, 5))


class Player(nnx.Module):
    """Pictures `[batch, 5 * SIDE, 5 * SIDE, 1]` to scores `[batch, 4]`, four times the logarithm of actions' worth."""

    def __init__(self, rngs):
        self.look = nnx.Conv(1, 16, (5, 5), strides=5, rngs=rngs)
        self.name = nnx.Linear(16, 3, rngs=rngs)
        self.plan = scallax.nn.Reasoner(RULES, provenance="diffaddmultprob", **MAPPINGS)

    def __call__(self, pictures):
        agent, goal, enemy = jnp.moveaxis(self.name(nnx.relu(self.look(pictures))), -1, 0)
        agent, goal = (nnx.softmax(scores, axis=(1, 2)) for scores in (agent, goal))
        return 4 * jnp.log(self.plan(agent=agent, goal=goal, enemy=nnx.sigmoid(enemy)) + 1e-9)


def make_arenas(seed, count):
    """Positions of agents and goals `[count, 2]` and maps of enemies `[count, SIDE, SIDE]`, where there is a way."""
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(SIDE * SIDE), (2 * count, 1)), axis=1)
    maps = (order[:, :, None] == np.arange(SIDE * SIDE)).reshape(2 * count, -1, SIDE, SIDE)
    enemies = maps[:, 2 : 2 + ENEMIES].any(1)
    chosen = np.flatnonzero(HAS_WAY(agent=maps[:, 0], goal=maps[:, 1], enemy=enemies).any(1))[:count]
    agent, goal = (np.stack(np.divmod(order[chosen, i], SIDE), axis=1) for i in (0, 1))
    return tuple(map(jnp.asarray, (agent, goal, enemies[chosen])))


def draw(agent, goal, enemies, key):
    """Noisy pictures `[batch, 5 * SIDE, 5 * SIDE, 1]` of arenas."""
    batch = jnp.arange(len(agent))
    kinds = jnp.where(enemies, 3, 0).at[batch, *goal.T].set(2).at[batch, *agent.T].set(1)
    pictures = jnp.asarray(PATTERNS, jnp.float32)[kinds].swapaxes(2, 3).reshape(len(agent), 5 * SIDE, 5 * SIDE, 1)
    return pictures + 0.2 * jax.random.normal(key, pictures.shape)


def walk(policy, arenas, key):
    """Walks by a policy's scores of actions; what was seen, done, still under way and won, each `[MOVES, batch]`."""
    agent, goal, enemies = arenas
    batch = jnp.arange(len(agent))

    def move(state, key):
        agent, is_walking = state
        noise, luck = jax.random.split(key)
        pictures = draw(agent, goal, enemies, noise)
        action = jax.random.categorical(luck, policy(pictures))
        agent = jnp.clip(agent + jnp.array(STEPS)[action], 0, SIDE - 1)
        is_won = is_walking & (agent == goal).all(1)
        return (agent, is_walking & ~is_won & ~enemies[batch, *agent.T]), (pictures, action, is_walking, is_won)

    return jax.lax.scan(move, (agent, batch >= 0), jax.random.split(key, MOVES))[1]


@nnx.jit
def train_step(model, optimizer, arenas, key):
    """One step of policy gradient: what was done on walks that reached the goal gets likelier; the share of these."""
    pictures, actions, are_walking, are_won = walk(model, arenas, key)
    rewards = are_won.any(0)
    advantages = jnp.where(are_walking, rewards - rewards.mean(), 0).reshape(-1)

    def loss_of(model):
        chances = nnx.log_softmax(model(pictures.reshape(-1, *pictures.shape[2:])))
        return -(advantages * jnp.take_along_axis(chances, actions.reshape(-1, 1), axis=1)[:, 0]).sum() / ARENAS

    optimizer.update(model, nnx.grad(loss_of)(model))
    return rewards.mean()


def main():
    """Trains, and tells the share of unseen arenas that are solved, and that by luck alone."""
    model = Player(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    for update in range(1, UPDATES + 1):
        won = train_step(model, optimizer, make_arenas(update, ARENAS), jax.random.key(update))
        if update % 10 == 0:
            print(f"update {update}: {won:.0%} of the walks reach the goal")
    unseen = make_arenas(0, TEST_ARENAS)
    lucky = walk(lambda pictures: jnp.zeros((TEST_ARENAS, 4)), unseen, jax.random.key(0))[3].any(0).mean()
    print(f"a random walk solves {lucky:.1%} of the unseen arenas")
    # The best action, not one that is drawn.
    solved = walk(lambda pictures: 1e3 * model(pictures), unseen, jax.random.key(0))[3].any(0).mean()
    print(f"accuracy {solved:.1%} of unseen arenas")


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
