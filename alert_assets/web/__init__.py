"""Pages for people: problems live, one problem in full, acts, and how the product itself is."""
