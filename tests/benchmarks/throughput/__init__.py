"""How fast it is: the worker, what it could be at best, and what others would write, on the same events."""
