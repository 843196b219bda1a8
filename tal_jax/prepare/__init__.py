"""From annotations and feature files to a prepared set: what is checked, packed and left out."""
