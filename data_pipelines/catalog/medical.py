"""Cards of the medical datasets."""

from data_pipelines.catalog.card import Card

CARDS: tuple[Card, ...] = ()
