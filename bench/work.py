"""The sweep that every contender draws."""

PROMPT = "Once upon a time, in a distant galaxy, there was a spaceship called Voyager."
TEMPERATURES = [round(0.1 * i, 1) for i in range(16)]  # 0 to 1.5
DRAWS = 8
TOKENS = 64
