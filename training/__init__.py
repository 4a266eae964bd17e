"""Checkpoints, snapshots, runs and rounds; the trainers below know nothing of Django."""
