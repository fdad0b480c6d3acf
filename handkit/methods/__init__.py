"""Published systems: which parts learn, from which data, with which losses."""
