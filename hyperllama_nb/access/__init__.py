"""Who may ask what: checks that hold for every door."""
