"""Numbers about the labels: agreement, reliability, consensus, biases. Pure functions over judgements, no database."""
