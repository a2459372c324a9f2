"""What a command does, from a request to a finished study: the plan, the stages in their order, and the search loop."""
