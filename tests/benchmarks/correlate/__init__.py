"""What the campaign stage costs with a million accounts: memory, processor, messages, the longest decision."""
