"""How fast this machine is, so that times that were recorded on another one can be compared.

`python -m benchmarks.calibrate` prints the processor milliseconds of one fixed piece of work of one thread. A recorded
time, times this figure over the recorded one, is about what it would be here.
"""

import statistics
import time

REPEATS = 25


def _work() -> int:
    """Joins, unions and sorts of small sets, as an interpreter of proofs does them."""
    proofs = [frozenset((i * 7 + j) % 97 for j in range(5)) for i in range(120)]
    found = 0
    for start in range(6):
        table: dict[frozenset[int], int] = {}
        for a in proofs[start::2]:
            for b in proofs[start % 3 :: 3]:
                union = a | b
                table[union] = table.get(union, 0) + len(union)
        found += sum(value for _, value in sorted(table.items(), key=lambda item: (item[1], sorted(item[0])))[:50])
    return found


def calibrate() -> float:
    """The processor milliseconds of the work, the median of some repetitions."""
    _work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        _work()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


if __name__ == "__main__":
    print(f"{calibrate():.1f}")
