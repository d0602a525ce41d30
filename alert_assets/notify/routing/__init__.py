"""Who is notified of an alert, through which channel, until when."""
