"""The ML lead's console."""
