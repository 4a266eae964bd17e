"""What every REST endpoint shares."""
