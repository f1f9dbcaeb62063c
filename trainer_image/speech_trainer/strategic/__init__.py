"""Strategic logs: what went in and what came out, as a tree for people and a JSON line for machines."""
