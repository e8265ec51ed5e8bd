"""Who writes the knowledge base: a small interface, and one file for each provider."""
