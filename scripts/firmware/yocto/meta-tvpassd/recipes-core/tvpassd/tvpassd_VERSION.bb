# From source, with Go 1.26 or later: wrynose (6.0) and what came after.
require tvpassd.inc

GO_IMPORT = "github.com/tvpassd/tvpassd"
inherit go

do_configure() {
    :
}

# The flags are the source's own. SOURCE_DATE_EPOCH, which bitbake sets, is the moment
# before which a device's clock counts as unset.
do_compile() {
    GO="${GO}" ${S}/scripts/firmware/compile ${B}/tvpassd
}
