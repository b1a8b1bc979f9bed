"""The verbs, each as its steps in order."""
