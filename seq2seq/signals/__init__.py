"""What may be said of one line's output without a reference: measures, bounds on them, and a report of both."""
