"""The command: reads words, calls one flow, prints its result."""

import atexit
import gc

# Python looks for garbage after each 700 new objects (docs of gc). Most commands end before there is any worth finding, and
# looking through all that they import took a twelfth of their time.
gc.set_threshold(300_000)
# It looks once more, several times, when it ends; what is frozen is passed over: 60 ms of a submission's 350.
atexit.register(gc.freeze)
