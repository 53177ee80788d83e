"""Tests against a real broker and a real ClickHouse engine."""
