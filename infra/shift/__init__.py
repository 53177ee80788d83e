"""The fitted word vectors of the shift detector; `python -m tests.benchmarks.shift.fit_words` writes them."""
