"""The model that is explained: loaded, frozen, cut at a layer, and looked into."""
