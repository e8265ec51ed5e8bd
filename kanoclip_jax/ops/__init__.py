"""Array functions that know no model: attention, for whom it is lowered, unit vectors."""
