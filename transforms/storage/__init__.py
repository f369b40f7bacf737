"""The places: list, read, publish if absent. Knows obstore; nothing of gradients, formats or Beam."""
