"""The detect worker: events from Kafka, through one lane a partition, to evidence, signals and alerts."""
