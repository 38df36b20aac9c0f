"""What commands and leader tell each other: requests and answers, the status document, events, exit codes."""
