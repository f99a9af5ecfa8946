"""The island: all of poolbar that a worker process loads. It imports nothing of the rest but the records on the pipe."""
