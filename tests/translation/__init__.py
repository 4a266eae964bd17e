"""Finds the strings of the source, translated and not; `make messages` and the tests of the translation use it."""
