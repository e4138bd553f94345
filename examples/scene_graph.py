"""Learns the names, colors and positions of objects in scenes from nothing but answers to questions about the scenes.

A question is: what is, or what color is, the object above a vehicle? A network turns the features of each object into
distributions over names and colors, and the offset between each two into one over relations: the facts of that scene.
The rules know what a vehicle is, and what each question asks for.
"""

import random
from itertools import permutations

import torch
from torch import nn

import scallax
import torch_bridge

STEPS, TEST_BATCHES, NOISE = 150, 20, 0.3
# How many objects the scenes of a batch have.
COUNTS = [3, 4, 4, 5] * 4
NAMES = ["cat", "dog", "horse", "car", "bus", "cup", "plate"]
COLORS = ["red", "green", "blue", "yellow"]
RELATIONS = ["left of", "right of", "above", "below"]
IS_A = {"cat": "pet", "dog": "pet", "pet": "animal", "horse": "animal", "car": "vehicle", "bus": "vehicle"}
RULES = """
    type name(object: usize, n: String), color(object: usize, c: String)
    type related(object: usize, other: usize, r: String), question(r: String, k: String)
    rel kind(o, n) = name(o, n)
    rel kind(o, k) = kind(o, n) and is_a(n, k)
    rel meant(o) = question(r, k) and related(o, p, r) and kind(p, k)
    rel what(n) = meant(o) and name(o, n)
    rel what_color(c) = meant(o) and color(o, c)
"""
ANSWERS = NAMES + COLORS


def kinds(name):
    """A name, and every kind above it."""
    return [name, *kinds(IS_A[name])] if name in IS_A else [name]


def relate(place, other):
    """How an object at `place` is related to one at `other`."""
    x, y = (place - other).tolist()
    return RELATIONS[int(x > 0) if abs(x) > abs(y) else 2 + int(y < 0)]


def make_scene(count, codes):
    """Features of objects `[count, 16]`, their places `[count, 2]`, a question and the number of its only answer."""
    while True:
        names, colors = random.choices(NAMES, k=count), random.choices(COLORS, k=count)
        places = torch.rand(count, 2)
        asked, relation = random.choice(["what", "what_color"]), random.choice(RELATIONS)
        kind = random.choice(kinds(random.choice(names)))
        pairs = [(o, p) for o, p in permutations(range(count), 2) if kind in kinds(names[p])]
        meant = [o for o, p in pairs if relate(places[o], places[p]) == relation]
        answers = {(names if asked == "what" else colors)[o] for o in meant}
        if len(answers) == 1:
            shown = [[ANSWERS.index(n), ANSWERS.index(c)] for n, c in zip(names, colors, strict=True)]
            features = codes[torch.tensor(shown)].sum(1) + NOISE * torch.randn(count, 16)
            return features, places, (asked, (relation, kind)), ANSWERS.index(answers.pop())


class Reader(nn.Module):
    """Scenes with questions to probabilities of answers `[scenes, names + colors]`."""

    def __init__(self):
        super().__init__()
        self.name, self.color = nn.Linear(16, len(NAMES)), nn.Linear(16, len(COLORS))
        self.relation = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, len(RELATIONS)))
        self.rules = torch_bridge.Module(
            RULES, facts={"is_a": list(IS_A.items())}, non_probabilistic=["is_a", "question"], output_relation="what"
        )

    def forward(self, scenes):
        facts, groups = {"name": [], "color": [], "related": []}, {"name": [], "color": [], "related": []}
        for features, places, *_ in scenes:
            objects = [(o,) for o in range(len(features))]
            pairs = list(permutations(range(len(features)), 2))
            offsets = torch.stack([places[o] - places[p] for o, p in pairs])
            for relation, keys, scores, values in [
                ("name", objects, self.name(features), NAMES),
                ("color", objects, self.color(features), COLORS),
                ("related", pairs, self.relation(offsets), RELATIONS),
            ]:
                rows = zip(keys, scores.softmax(1), strict=True)
                facts[relation].append([(p, (*key, v)) for key, row in rows for p, v in zip(row, values, strict=True)])
                # The values of one object or pair exclude each other.
                groups[relation].append(torch.arange(scores.numel()).reshape(scores.shape).tolist())
        asked, questions = zip(*(question for *_, question, _ in scenes), strict=True)
        inputs = {**facts, "question": [[question] for question in questions]}
        return self.rules(**inputs, disjunctions=groups, output_relations=list(asked), output_mappings=ANSWERS)


def main():
    """Trains, and tells the share of questions about unseen scenes that are answered right."""
    random.seed(0)
    torch.manual_seed(0)
    codes = torch.randn(len(ANSWERS), 16)
    reader = Reader()
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    right = []
    for step in range(1, STEPS + TEST_BATCHES + 1):
        scenes = [make_scene(count, codes) for count in COUNTS]
        answers = torch.tensor([scene[-1] for scene in scenes])
        found = reader(scenes).clamp(0.001, 0.999)
        if step > STEPS:
            right.append(found.argmax(1) == answers)
            continue
        loss = nn.functional.binary_cross_entropy(found, nn.functional.one_hot(answers, len(ANSWERS)).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    print(f"accuracy {torch.cat(right).float().mean():.1%} of questions about unseen scenes")


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
