"""What starts the pipeline without anybody asking."""
