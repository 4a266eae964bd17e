"""Measurements that anybody can repeat: `python -m bench.<name>`, a table for people and `--json` for machines."""
