"""What several tests share: strategies over the model, and servers that tests start themselves."""
