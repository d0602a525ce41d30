"""What weeks and months come to: what runs cost, which alerts are worth their noise."""
