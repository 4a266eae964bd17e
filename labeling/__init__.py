"""Prompts, guidelines, items and slots, demonstrations, rankings and the comparisons that follow from them."""
