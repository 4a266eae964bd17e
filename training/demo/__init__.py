"""`make demo`: one whole round on one machine, with scripted contractors, and the second round left to a person."""
