"""Contracts: events, alerts, evidence and dead letters, and adapters from gateway formats."""
