"""The training side of /api/v1/: read-only, but for what the console also offers."""
