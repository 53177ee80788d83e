"""Measurements that are kept: speed of the detection core."""
