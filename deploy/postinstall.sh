#!/bin/sh
# The unit is neither enabled nor started: a tracer is the administrator's
# choice. An upgrade goes on with the new program where the old one ran.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	# A program that does not start, say on an old kernel, is no broken package.
	systemctl try-restart rstwhy.service || :
fi
