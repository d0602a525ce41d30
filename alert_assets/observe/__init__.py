"""The product observed: what its pages, its commands and other people's tools say of it."""
