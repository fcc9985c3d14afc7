#!/bin/sh
# dpkg says "remove" or "upgrade", rpm how many versions will be left.
# What systemd does not do is no reason to keep the package.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl stop rstwhy.service || :
	fi
	if command -v systemctl >/dev/null; then
		systemctl --quiet --no-reload disable rstwhy.service || :
	fi
	;;
esac
