"""Encoders: networks from clips of images to features, their published weights, and the catalogue that names them."""
