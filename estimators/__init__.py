"""Mathematics on arrays: learners, scores, mergeable sums, inference, checks, debiasing."""
