"""The distributed profile in containers: what is written from the code for them."""
