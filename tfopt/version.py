"""The version of tfopt and the host versions it is written for; the only place either is stated."""

VERSION = "0.1.0"

# Half-open ranges: the first version that works, the first that is not tried.
TENSORFLOW = ("2.21", "2.22")
KERAS = ("3.15", "3.16")
