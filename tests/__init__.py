"""Tests of distillwatch; not part of the package."""
