################################################################################
#
# tvpassd
#
################################################################################

TVPASSD_VERSION = @VERSION@
TVPASSD_SITE = https://github.com/tvpassd/tvpassd/releases/download/v$(TVPASSD_VERSION)
TVPASSD_SOURCE = tvpassd-$(TVPASSD_VERSION)-vendored.tar.gz
TVPASSD_LICENSE = Apache-2.0, BSD-3-Clause, MIT, Zlib
TVPASSD_LICENSE_FILES = LICENSE NOTICES.txt
TVPASSD_CPE_ID_VENDOR = tvpassd
TVPASSD_DEPENDENCIES = host-go

# The flags are the source's own. SOURCE_DATE_EPOCH, or the date of the release, is
# the moment before which a device's clock counts as unset.
define TVPASSD_BUILD_CMDS
	$(HOST_GO_TARGET_ENV) GO="$(GO_BIN)" \
		$(@D)/scripts/firmware/compile $(@D)/tvpassd
endef

define TVPASSD_USERS
	tvpass -1 tvpass -1 * - - - tvpassd
endef

TVPASSD_INSTALL = STATE_DIR=$(BR2_PACKAGE_TVPASSD_STATE_DIR) \
	$(@D)/scripts/firmware/install $(TARGET_DIR)

define TVPASSD_INSTALL_TARGET_CMDS
	$(TVPASSD_INSTALL) none $(@D)/tvpassd
endef

define TVPASSD_INSTALL_INIT_SYSTEMD
	$(TVPASSD_INSTALL) systemd $(@D)/tvpassd
endef

define TVPASSD_INSTALL_INIT_SYSV
	$(TVPASSD_INSTALL) busybox $(@D)/tvpassd
endef

define TVPASSD_INSTALL_INIT_OPENRC
	$(TVPASSD_INSTALL) openrc $(@D)/tvpassd
endef

define TVPASSD_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_UNIX)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EPOLL)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FUTEX)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EVENTFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TIMERFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_INOTIFY_USER)
endef

$(eval $(generic-package))
