"""The whole thesis in one go: notebooks executed, pages made from them."""
