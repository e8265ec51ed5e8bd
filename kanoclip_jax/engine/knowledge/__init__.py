"""The knowledge base from outside: built, inspected, and gathered for a training."""
