"""Distribution-shift bench: is a window of queries drawn from benign traffic, or is a share of it an attack set?"""

from tests.benchmarks.shift.bench import run

__all__ = ["run"]
