"""From files to a cleaned corpus: read, normalise, filter, decontaminate, deduplicate, and tell what was dropped."""
