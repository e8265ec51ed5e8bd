"""Datasets and users' folders as seeded, resumable streams of numpy batches."""
