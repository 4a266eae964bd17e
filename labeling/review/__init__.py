"""Second looks at labels: what is reviewed, the queue, the verdict, and the way back to the author."""
