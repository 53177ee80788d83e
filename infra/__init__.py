"""Local stack, topics, ClickHouse migrations and queries, and the shipped configuration."""
