"""Three-axis sensors: which channels of a set belong to one device, and which are its x, y and z."""
