"""The generated world: scenes like photographs of small things, with a mask for each of them."""
