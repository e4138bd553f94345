"""First answers of contexts; each function is called in a fresh process, in which only `scallax` has been imported."""

import scallax
from benchmarks.laps import Laps

# Two causes, four reasons for an alarm, two calls: ten tags.
ALARM = """
rel 0.3::cause("smoke")
rel 0.2::cause("quake")
rel 0.9::alarm() = cause("smoke")
rel 0.8::alarm() = cause("quake")
rel 0.95::alarm() = cause("smoke"), cause("quake")
rel 0.05::alarm() = cause(_)
rel 0.7::calls("mary") = alarm()
rel 0.6::calls("john") = alarm()
rel 0.1::calls("mary") = cause("smoke")
rel 0.2::calls("john") = cause("quake")
"""
QUERY = "query calls\n"
CLOSURE = """
rel edge = {(0, 1), (1, 2), (2, 3)}
rel path(x, y) = edge(x, y) or (path(x, z) and edge(z, y))
query path
"""
MANY_FACTS = 20_000


def alarm(provenance: str, k: int) -> None:
    """A context of the alarm network, from nothing to an answer."""
    laps = Laps()
    with laps.lap("answer"):
        context = scallax.Context(provenance, k=k)
        context.add_program(ALARM)
        context.run()
        assert len(list(context.relation("calls"))) == 2
    laps.report()


def one_rule_more(provenance: str, k: int) -> None:
    """A rule that is added to the alarm network after its first answer, and the next answer."""
    laps = Laps()
    context = scallax.Context(provenance, k=k)
    context.add_program(ALARM)
    context.run()
    list(context.relation("calls"))
    with laps.lap("next answer"):
        context.add_rule("is_awake(x) = calls(x)", tag=0.9)
        context.run()
        assert len(list(context.relation("is_awake"))) == 2
    laps.report()


def facts_alone(provenance: str, k: int) -> None:
    """Uncertain facts of one relation, without a rule."""
    laps = Laps()
    facts = [((i % 997 + 1) / 1000, (i,)) for i in range(MANY_FACTS)]
    with laps.lap("answer"):
        context = scallax.Context(provenance, k=k)
        context.add_relation("fact", int)
        context.add_facts("fact", facts)
        context.run()
        assert len(list(context.relation("fact"))) == MANY_FACTS
    laps.report()
