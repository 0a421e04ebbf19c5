# Makes what the service needs beside its program: the system user and group
# tvpass, and the directory for the players' files. It needs a POSIX shell
# alone, because the smallest devices have nothing else. Packages run it when
# they are installed, and so does `tvpassd install`. It may be run again.

umask 022 # whoever runs it may have another: nobody but root may write to /etc/tvpassd, and all must read it

fail() {
	echo "$1" >&2
	exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
exists() { grep -q "^$2:" "/etc/$1" || { has getent && getent "$1" "$2" >/dev/null; }; }

if ! exists group tvpass || ! exists passwd tvpass; then
	shell=/usr/sbin/nologin
	[ -x $shell ] || shell=/bin/false
	if has useradd; then
		exists group tvpass || groupadd --system tvpass
		exists passwd tvpass || useradd --system --gid tvpass --no-create-home --home-dir /nonexistent --shell $shell tvpass
	elif has adduser; then # busybox
		exists group tvpass || addgroup -S tvpass
		exists passwd tvpass || adduser -S -D -H -h /nonexistent -s $shell -G tvpass tvpass
	elif [ -e /lib/functions.sh ]; then # OpenWrt
		(. /lib/functions.sh && user_add tvpass "" "$(group_add_next tvpass)" tvpass /var/run/tvpassd /bin/false)
	else
		false
	fi || fail "the system user and group tvpass can't be made here: add both to the image that the device boots"
fi
mkdir -p /etc/tvpassd/apps.d || fail "/etc can't be written here: add the directory /etc/tvpassd/apps.d to the image that the device boots"

# systemd before 235 makes no state directory. One that exists stays as it is.
if [ ! -e /var/lib/tvpassd ]; then
	mkdir -p -m 0755 /var/lib && mkdir -m 0700 /var/lib/tvpassd && chown tvpass:tvpass /var/lib/tvpassd || true
fi
