"""The fitted classifier of paraphrased wishes for hidden reasoning, and what it was fitted from."""
