"""The demonstration: real prompts, simulated accounts, the replay that users run, and its outcome."""
