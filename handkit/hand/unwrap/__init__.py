"""How a hand's surface becomes a flat map: cut into charts, flattened, laid out in the unit square."""
