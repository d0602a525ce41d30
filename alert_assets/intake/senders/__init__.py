"""Everybody who can send: a module each, with an example payload and the events it must give beside it."""
