"""What is fast, measured side by side: every job runs us and its peers in turn, on the same data and server."""
