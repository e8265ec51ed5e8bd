"""What an evaluation leaves to look at: tables, a page, evidence, example pictures."""
