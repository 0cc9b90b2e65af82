"""Many runs, one question: the composition root, the choice of rates, the recommendation, the gate."""
