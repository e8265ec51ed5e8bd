"""The knowledge base: records on disk, what writes them, and their features."""
