"""ClickHouse: migrations, analysts' queries, and an HTTP endpoint in front of the embedded engine."""
