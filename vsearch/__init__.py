"""vsearch: a durable vector search database."""
