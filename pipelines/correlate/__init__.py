"""The correlate app: evidence of all partitions, through the campaign core, to campaign alerts."""
