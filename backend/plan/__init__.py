"""Plans: everything decided once, at load, about calling an entry."""
