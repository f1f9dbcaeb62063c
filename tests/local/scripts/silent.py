"""Trains for a while, prints nothing, reports nothing. argv: seconds."""

import sys
import time

time.sleep(float(sys.argv[1]))
