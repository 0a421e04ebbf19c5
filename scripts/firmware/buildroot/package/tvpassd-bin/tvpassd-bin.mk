################################################################################
#
# tvpassd-bin
#
################################################################################

TVPASSD_BIN_VERSION = @VERSION@
TVPASSD_BIN_SITE = https://github.com/tvpassd/tvpassd/releases/download/v$(TVPASSD_BIN_VERSION)
TVPASSD_BIN_SOURCE = tvpassd-$(TVPASSD_BIN_VERSION)-vendored.tar.gz
TVPASSD_BIN_LICENSE = Apache-2.0, BSD-3-Clause, MIT, Zlib
TVPASSD_BIN_LICENSE_FILES = LICENSE NOTICES.txt
TVPASSD_BIN_CPE_ID_VENDOR = tvpassd
TVPASSD_BIN_CPE_ID_PRODUCT = tvpassd

ifeq ($(BR2_arm),y)
ifeq ($(BR2_ARM_CPU_ARMV5),y)
TVPASSD_BIN_TARGET = armv5
else ifeq ($(BR2_ARM_CPU_ARMV6),y)
TVPASSD_BIN_TARGET = armv6
else
TVPASSD_BIN_TARGET = armv7
endif
else ifeq ($(BR2_aarch64),y)
TVPASSD_BIN_TARGET = arm64
else ifeq ($(BR2_mipsel),y)
TVPASSD_BIN_TARGET = mipsle
else ifeq ($(BR2_RISCV_64),y)
TVPASSD_BIN_TARGET = riscv64
else
TVPASSD_BIN_TARGET = amd64
endif
TVPASSD_BIN_PROGRAM = tvpassd-$(TVPASSD_BIN_VERSION)-linux-$(TVPASSD_BIN_TARGET)
TVPASSD_BIN_EXTRA_DOWNLOADS = $(TVPASSD_BIN_PROGRAM)

define TVPASSD_BIN_USERS
	tvpass -1 tvpass -1 * - - - tvpassd
endef

TVPASSD_BIN_INSTALL = STATE_DIR=$(BR2_PACKAGE_TVPASSD_STATE_DIR) \
	$(@D)/scripts/firmware/install $(TARGET_DIR)

define TVPASSD_BIN_INSTALL_TARGET_CMDS
	$(TVPASSD_BIN_INSTALL) none $(TVPASSD_BIN_DL_DIR)/$(TVPASSD_BIN_PROGRAM)
endef

define TVPASSD_BIN_INSTALL_INIT_SYSTEMD
	$(TVPASSD_BIN_INSTALL) systemd $(TVPASSD_BIN_DL_DIR)/$(TVPASSD_BIN_PROGRAM)
endef

define TVPASSD_BIN_INSTALL_INIT_SYSV
	$(TVPASSD_BIN_INSTALL) busybox $(TVPASSD_BIN_DL_DIR)/$(TVPASSD_BIN_PROGRAM)
endef

define TVPASSD_BIN_INSTALL_INIT_OPENRC
	$(TVPASSD_BIN_INSTALL) openrc $(TVPASSD_BIN_DL_DIR)/$(TVPASSD_BIN_PROGRAM)
endef

$(eval $(generic-package))
