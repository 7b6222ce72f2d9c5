"""Images that are the same, to the byte or nearly."""
