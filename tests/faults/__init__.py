"""What a deployment says while it is disturbed: kills, outages and long runs on a real broker and a real ClickHouse."""
