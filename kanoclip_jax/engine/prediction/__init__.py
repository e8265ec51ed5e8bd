"""Predictions on a user's own pictures, and the thresholds that they are judged by."""
