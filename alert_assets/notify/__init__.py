"""Notifications: alerts, routing, episodes, channels, delivery and escalation."""
