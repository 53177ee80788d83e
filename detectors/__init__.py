"""Pure online detection: features, detectors, cohorts and campaigns. No clock, no file, no client."""
