#!/bin/sh
# Recordings outlive the package, until dpkg purges it.
set -e
if [ "$1" = purge ]; then
	rm -rf /var/lib/rstwhy
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
fi
