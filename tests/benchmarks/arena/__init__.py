"""The arena: how well today's detectors do on labelled scenarios, beside other methods on the same events.

`python -m tests.benchmarks.arena --scenario small|standard --out build`. See `docs/benchmark.md`.
"""
