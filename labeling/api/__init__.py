"""The labeling side of /api/v1/."""
