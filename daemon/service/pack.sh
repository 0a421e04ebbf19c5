#!/bin/sh
# Packs the units and scripts that the program installs: the name and the content
# of each, with a NUL behind both.
for file in tvpassd.* prepare.sh; do
	printf '%s\0' "$file"
	cat "$file"
	printf '\0'
done | gzip -9n >shipped.gz
