"""What a collection is worth training on: what is missing, what repeats, what can be gained."""
