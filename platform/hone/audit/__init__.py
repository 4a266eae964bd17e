"""What happened, by whom, to what: an append-only list of events."""
