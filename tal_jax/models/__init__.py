"""The networks, as Linen modules with explicit fields."""
