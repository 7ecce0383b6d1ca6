"""The sweep that every contender draws."""

PROMPT = "Once upon a time, in a distant galaxy, there was a spaceship called Voyager."
TEMPERATURES = [round(0.1 * i, 1) for i in range(16)]  # 0 to 1.5
DRAWS = 8
TOKENS = 64

# What a dial is held against.
ARTICLE_TWO = (0.2, 0.9)  # as many temperatures as the article's loop may take while the whole axis is found
HUNDREDTHS = [round(0.01 * i, 2) for i in range(151)]  # 0 to 1.5
AXIS = (0.0, 1.5)
LONG, LONG_AXIS = 200, (0.0, 1.0)
