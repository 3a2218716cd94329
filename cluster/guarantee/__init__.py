"""A promise about quality: which cheaper way of routing keeps enough of a reference's reward."""
