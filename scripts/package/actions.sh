# shellcheck shell=sh disable=SC1091,SC2154
# What installing, upgrading and removing tvpassd does to a device. `build` makes the
# scripts of a package of this file and of the one that knows the words of its
# package manager (deb, rpm, apk, ipk). A POSIX shell runs them, busybox's too.
#
# $D (Yocto) and $IPKG_INSTROOT (OpenWrt) are the root of an image that is being
# built. There, and in a root that is not this system's own, nothing is started.
set -e
umask 022
root=${D:-}${IPKG_INSTROOT:-}

complain() { echo "tvpassd: $*" >&2; }

# unknown: the package manager passed an argument that no known version of it
# passes. Going on could leave a device without user or service, and nobody
# would notice.
unknown() {
	complain "$hook: unknown argument \"$*\": this package is not made for this package manager"
	exit 1
}

# here: this is the root of the running system, and not of an image.
# shellcheck disable=SC3013 # dash and busybox have -ef
here() { [ -z "$root" ] && [ /proc/1/root -ef / ]; }
has() { command -v "$1" >/dev/null 2>&1; }
# first FILE...: the first that exists.
first() {
	for file; do
		[ -e "$file" ] || continue
		echo "$file"
		return
	done
}
init_script() { first /etc/init.d/tvpassd /etc/init.d/S90tvpassd; }

# placed NEW: the files are in their places. NEW is yes for an installation, no
# for an upgrade, and "ask" if the package manager does not say.
placed() {
	lasting
	if [ -n "$root" ]; then
		image_user
		by_hand
		return
	fi
	new=$1
	[ "$new" != ask ] || [ -d /var/lib/tvpassd ] || new=yes # it stays from here on
	(. /usr/lib/tvpassd/prepare.sh)
	if has systemctl; then
		under_systemd
	elif here; then
		under_other
	else
		by_hand
	fi
}

under_systemd() {
	[ "$new" != yes ] || systemctl enable tvpassd.service || true # unless a person has masked it
	[ -d /run/systemd/system ] && here || return 0
	systemctl daemon-reload
	# A service that a person has disabled stays as it is.
	if systemctl --quiet is-enabled tvpassd.service 2>/dev/null; then action=restart; else action=try-restart; fi
	systemctl $action tvpassd.service || complain "it does not start; systemctl status tvpassd says why"
}

# under_other: `tvpassd install` knows the other init systems. An upgrade brings
# the init script up to date, unless a person has taken the service out of the
# boot.
under_other() {
	script=$(init_script)
	if [ -z "$script" ]; then
		{ tvpassd install && tvpassd start; } || complain "it does not start; tvpassd doctor finds the cause"
	elif boots "$script"; then
		set -- "$(sed -n 's/^arguments="run --user tvpass --config \(.*\)"$/\1/p' "$script")"
		{ tvpassd install ${1:+--config "$1"} && tvpassd restart; } ||
			complain "it does not start; tvpassd doctor finds the cause"
	fi
}

# boots SCRIPT: the boot runs it.
boots() {
	case $1 in
	*/S90tvpassd) [ -x "$1" ] ;;
	*) [ -n "$(first /etc/rc*.d/S??tvpassd /etc/rc.d/rc?.d/S??tvpassd /etc/runlevels/*/tvpassd)" ] ;;
	esac
}

# by_hand puts the service into an image, or into a root that does not run.
by_hand() {
	if [ -e "$root/etc/rc.common" ]; then
		put tvpassd.procd tvpassd
		link rc.d/S90tvpassd
		link rc.d/K10tvpassd
	elif [ -e "$root/sbin/openrc-run" ]; then
		put tvpassd.openrc tvpassd
		link runlevels/default/tvpassd
	elif [ -e "$root/lib/systemd/systemd" ] || [ -e "$root/usr/lib/systemd/systemd" ] || [ ! -e "$root/sbin/init" ]; then
		# An image that has no init yet is Yocto's, where tvpassd was installed first.
		mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
		ln -sf /usr/lib/systemd/system/tvpassd.service "$root/etc/systemd/system/multi-user.target.wants/"
	elif [ -d "$root/etc/rc5.d" ] || [ -d "$root/etc/rc2.d" ]; then
		put tvpassd.init tvpassd
		for level in 2 3 4 5; do link rc$level.d/S90tvpassd; done
		for level in 0 1 6; do link rc$level.d/K10tvpassd; done
	elif [ -e "$root/etc/init.d/rcS" ]; then
		put tvpassd.init S90tvpassd
	else
		complain "the init system of this image is unknown: its boot must run \`tvpassd run --user tvpass\`"
	fi
}
# put FILE NAME: the init script FILE gets that name in /etc/init.d.
put() {
	mkdir -p "$root/etc/init.d"
	cp "$root/usr/lib/tvpassd/$1" "$root/etc/init.d/$2"
	chmod 755 "$root/etc/init.d/$2"
}
link() { mkdir -p "$root/etc/${1%/*}" && ln -sf /etc/init.d/tvpassd "$root/etc/$1"; }

# image_user makes the user in an OpenWrt image; in others sysusers.d or the image's
# own recipe does.
image_user() {
	[ -e "$root/etc/rc.common" ] && ! grep -q '^tvpass:' "$root/etc/passwd" || return 0
	number=900 # free in OpenWrt, whose own numbers are below 500 and above 32767
	while grep -q ":$number:" "$root/etc/passwd" "$root/etc/group"; do number=$((number + 1)); done
	grep -q '^tvpass:' "$root/etc/group" || echo "tvpass:x:$number:" >>"$root/etc/group"
	group=$(sed -n 's/^tvpass:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
	echo "tvpass:x:$number:$group:tvpass:/var/run/tvpassd:/bin/false" >>"$root/etc/passwd"
	[ ! -e "$root/etc/shadow" ] || echo "tvpass:x:0:0:99999:7:::" >>"$root/etc/shadow"
}

# lasting: OpenWrt keeps /var in memory. Of /etc an upgrade keeps what is
# listed.
lasting() {
	[ -e "$root/etc/rc.common" ] || return 0
	mkdir -p "$root/etc/tvpassd" "$root/lib/upgrade/keep.d"
	echo /etc/tvpassd/ >"$root/lib/upgrade/keep.d/tvpassd"
	config=$root/etc/tvpassd/config.toml
	grep -q '^ *state_dir' "$config" 2>/dev/null ||
		sed -i 's|^#state_dir = .*|state_dir = "/etc/tvpassd/state"|' "$config"
}

# removing KEEP: the files are about to go. At an upgrade this is not called:
# the old daemon serves until the new one takes its place. KEEP is yes if a
# later purge forgets whether the service was enabled.
removing() {
	[ -z "$root" ] || return 0
	if has systemctl; then
		[ ! -d /run/systemd/system ] || systemctl stop tvpassd.socket tvpassd.service || true
		[ "$1" = yes ] || systemctl --quiet disable tvpassd.socket tvpassd.service || true
	elif [ -n "$(init_script)" ]; then
		tvpassd uninstall || complain "the service may be left: $(init_script)"
	fi
}

# removed: the files are gone. The state stays, or every viewer would have to sign in
# again after the next installation. The user stays, so that nobody inherits its
# number.
removed() {
	[ -z "$root" ] || return 0
	rm -rf /run/tvpassd
	rm -f /lib/upgrade/keep.d/tvpassd
	forget
}

purged() {
	[ -z "$root" ] || return 0
	rm -rf /var/lib/tvpassd /run/tvpassd
	rm -f /etc/systemd/system/*.wants/tvpassd.*
	forget
}

forget() {
	[ -d /run/systemd/system ] || return 0
	systemctl daemon-reload
	systemctl reset-failed tvpassd.service 2>/dev/null || true
}
