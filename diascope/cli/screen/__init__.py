"""What the command line prints: tables on standard output, progress on standard error."""
