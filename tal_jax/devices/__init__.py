"""Devices and processes: the mesh, several processes together, compiled steps kept."""
