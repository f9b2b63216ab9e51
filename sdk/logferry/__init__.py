"""logferry: durable, low-overhead logging from many parallel jobs."""
