# SPDX-License-Identifier: Apache-2.0
# A part of the image: packages/network/tvpassd, named in ADDITIONAL_PACKAGES of the
# distribution's options. LibreELEC 12 has a Go older than 1.26: there the program is
# the release's own, named by TVPASSD_PROGRAM. With a newer Go it is built.
#
#   TVPASSD_PROGRAM=$HOME/tvpassd-@VERSION@-linux-arm64

PKG_NAME="tvpassd"
PKG_VERSION="@VERSION@"
PKG_SHA256="@SHA256:tvpassd-@VERSION@-vendored.tar.gz@"
PKG_LICENSE="Apache-2.0"
PKG_SITE="https://github.com/tvpassd/tvpassd"
PKG_URL="https://github.com/tvpassd/tvpassd/releases/download/v${PKG_VERSION}/tvpassd-${PKG_VERSION}-vendored.tar.gz"
PKG_DEPENDS_TARGET="toolchain systemd"
PKG_LONGDESC="Access tokens of Adobe Pass for the players of this device."
PKG_TOOLCHAIN="manual"

[ -n "${TVPASSD_PROGRAM:-}" ] || PKG_DEPENDS_TARGET+=" go:host"

# What the release's SHA256SUMS says of the binaries.
tvpassd_sums() {
  cat <<END
@SHA256:tvpassd-@VERSION@-linux-armv6@  armv6
@SHA256:tvpassd-@VERSION@-linux-armv7@  armv7
@SHA256:tvpassd-@VERSION@-linux-arm64@  arm64
@SHA256:tvpassd-@VERSION@-linux-amd64@  amd64
END
}

make_target() {
  if [ -n "${TVPASSD_PROGRAM:-}" ]; then
    sum="$(sha256sum <"${TVPASSD_PROGRAM}")"
    tvpassd_sums | grep -q "^${sum%% *}  ${TVPASSD_PROGRAM##*-linux-}\$" ||
      die "${TVPASSD_PROGRAM} is not the release's"
    cp "${TVPASSD_PROGRAM}" "${PKG_BUILD}/tvpassd"
    return
  fi
  go_configure
  GO="${GOLANG}" "${PKG_BUILD}/scripts/firmware/compile" "${PKG_BUILD}/tvpassd"
}

# The root is read-only and /var is in memory: /storage lasts, also over an update.
# Settings and apps are in the image; what differs by device goes to /storage.
makeinstall_target() {
  STATE_DIR=/storage/.cache/tvpassd "${PKG_BUILD}/scripts/firmware/install" \
    "${INSTALL}" systemd "${PKG_BUILD}/tvpassd"
}

post_install() {
  add_user tvpass x 990 990 tvpassd / /bin/false
  add_group tvpass 990
  enable_service tvpassd.service
}
