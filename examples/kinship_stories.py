"""Learns the words of kinship from nothing but answers to questions about short stories, and is asked about long ones.

Each sentence of a story tells how two people are related, and the question is about two who never meet in a sentence. A
network reads the words of a sentence to a distribution over relations, and rules know how relations compose. Each story
has people of its own, so its facts differ from those of others.
"""

import random
import re
from itertools import pairwise

import torch
from torch import nn

import scallax
import torch_bridge

STEPS, BATCH, TEST_STORIES = 250, 16, 300
TRAIN_LENGTHS, TEST_LENGTHS = [2, 3], [4, 5, 6]
# The words for male and for female relatives of each kind; the first one names the relation.
KINDS = {
    "parent": ("father dad papa", "mother mom mama"),
    "child": ("son boy", "daughter girl"),
    "sibling": ("brother bro", "sister sis"),
    "grandparent": ("grandfather grandpa", "grandmother granny"),
    "grandchild": ("grandson", "granddaughter"),
    "pibling": ("uncle", "aunt auntie"),
    "nibling": ("nephew", "niece"),
}
WORDS = {(kind, gender): words.split() for kind, pair in KINDS.items() for gender, words in enumerate(pair)}
RELATIONS = [words[0] for words in WORDS.values()]
# Compositions: a parent's parent is a grandparent, and so on.
# A sibling's parents are one's own, and so are children's siblings.
COMPOSE = {("parent", "parent"): "grandparent", ("parent", "sibling"): "pibling"}
COMPOSE |= {("child", "child"): "grandchild", ("sibling", "child"): "nibling"}
COMPOSE |= {("sibling", kind): kind for kind in ["parent", "sibling", "grandparent", "pibling"]}
COMPOSE |= {(kind, "sibling"): kind for kind in ["child", "grandchild", "nibling"]}
# A chain of sentences is read from its beginning: so each reading of a story derives its answer in one way, readings
# exclude each other, and `diffaddmultprob`, which adds and multiplies, is exact.
RULES = """
    type says(r: String, a: String, b: String), question(a: String, b: String)
    rel related(r, a, b) = says(r, a, b)
    rel related(t, a, c) = related(r, a, b) and says(s, b, c) and kin(r, k, _) and kin(s, l, gender)
        and compose(k, l, m) and kin(t, m, gender)
    rel answer(r) = question(a, b) and related(r, a, b)
"""
FACTS = {
    "kin": [(words[0], kind, gender) for (kind, gender), words in WORDS.items()],
    "compose": [(first, second, both) for (first, second), both in COMPOSE.items()],
}
SENTENCES = ["{} took a walk with {} {}", "{}'s {} {} came for tea", "{} is proud of a {} named {}"]
TEXT = " ".join([*SENTENCES, *(words for pair in KINDS.values() for words in pair)])
VOCABULARY = list(dict.fromkeys(re.findall("[a-z]+", TEXT)))
NAMES = ["Ada", "Ben", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivan", "Jill", "Max", "Otto", "Pia"]


def tell(length):
    """A random story of so many sentences, the two people of the question, and the number of the answer."""
    kind, chain = None, []
    while kind is None:
        chain = random.choices(list(WORDS), k=length)
        kind = chain[0][0]
        for other, _ in chain[1:]:
            kind = COMPOSE.get((kind, other)) if kind else None
    people = random.sample(NAMES, length + 1)
    links = zip(chain, pairwise(people), strict=True)
    story = [random.choice(SENTENCES).format(a, random.choice(WORDS[relation]), b) for relation, (a, b) in links]
    return random.sample(story, length), (people[0], people[-1]), list(WORDS).index((kind, chain[-1][1]))


class Reader(nn.Module):
    """Stories and questions to probabilities of answers `[stories, relations]`."""

    def __init__(self):
        super().__init__()
        self.meanings = nn.EmbeddingBag(len(VOCABULARY), len(RELATIONS), mode="sum")
        nn.init.normal_(self.meanings.weight, std=0.01)
        self.rules = torch_bridge.Module(
            RULES,
            facts=FACTS,
            provenance="diffaddmultprob",
            non_probabilistic=["kin", "compose", "question"],
            output_mapping=("answer", RELATIONS),
        )

    def read(self, sentence):
        """A fact for each relation, with its probability; what starts with a capital letter is a name."""
        a, b = re.findall("[A-Z][a-z]+", sentence)
        words = torch.tensor([[VOCABULARY.index(word) for word in re.findall(r"\b[a-z]+", sentence)]])
        return [(p, (r, a, b)) for p, r in zip(self.meanings(words)[0].softmax(0), RELATIONS, strict=True)]

    def forward(self, stories, questions):
        facts = [[fact for sentence in story for fact in self.read(sentence)] for story in stories]
        return self.rules(says=facts, question=[[question] for question in questions])


def main():
    """Trains on short stories, and tells the share of long ones whose question is answered right."""
    random.seed(0)
    torch.manual_seed(0)
    reader = Reader()
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.1)
    for step in range(1, STEPS + 1):
        stories, questions, answers = zip(*map(tell, TRAIN_LENGTHS * (BATCH // 2)), strict=True)
        loss = nn.functional.nll_loss((reader(stories, questions) + 1e-4).log(), torch.tensor(answers))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    stories, questions, answers = zip(*map(tell, TEST_LENGTHS * (TEST_STORIES // 3)), strict=True)
    with torch.no_grad():
        right = reader(stories, questions).argmax(1) == torch.tensor(answers)
    print("; ".join(stories[0]), f"- who is {questions[0][1]} to {questions[0][0]}? The {RELATIONS[answers[0]]}.")
    print(f"accuracy {right.float().mean():.1%} of questions about longer stories")


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
