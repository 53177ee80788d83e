"""Texts written for the fit, one JSON-lines file a language, and the program that fits (``__main__``)."""
