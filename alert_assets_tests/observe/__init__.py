"""Tests of what others see of the product."""
