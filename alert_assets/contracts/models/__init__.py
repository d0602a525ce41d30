"""The pandera models: the event a producer sends and a row of each table."""
