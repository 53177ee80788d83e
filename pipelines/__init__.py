"""Thin shells around the detectors: command line, workers, replay, config, sink."""
