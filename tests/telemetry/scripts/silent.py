"""Trains for a while, prints nothing, reports nothing."""

import sys
import time

time.sleep(float(sys.argv[1]))
