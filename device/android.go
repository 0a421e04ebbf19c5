package device

import (
	"slices"
	"strconv"
	"strings"
)

// buildFiles hold Android's properties, in the order in which it reads them.
var buildFiles = []string{
	"/default.prop", "/system/etc/prop.default", "/system/build.prop",
	"/system_ext/etc/build.prop", "/system/system_ext/etc/build.prop", "/system/system_ext/build.prop",
	"/vendor/default.prop", "/vendor/build.prop",
	"/odm/etc/build.prop", "/vendor/odm/etc/build.prop", "/odm/build.prop",
	"/product/etc/build.prop", "/product/build.prop", "/system/product/etc/build.prop", "/system/product/build.prop",
}

// partitions are those of an image, in the order in which Android looks for a
// product property in them (init's property_initialize_ro_product_props).
var partitions = []string{"product", "odm", "vendor", "system_ext", "system"}

// versionPartitions are those that may have Android's version. A vendor's may be
// older than the system upon it.
var versionPartitions = []string{"product", "system", "system_ext", "odm", "vendor"}

// laterFilesWin is the first version, as an API level, that lets a file override
// what an earlier one said. Before, an ro. property could be set only once.
const laterFilesWin = 29

// property is a system property that is set at build time.
type property string

func (key property) offer(p *probe, take func(finding) bool) bool {
	if taken, found := p.offerProperty(string(key), take); found {
		return taken
	}
	return take(finding{where: string(key)})
}

// offerProperty offers the property of every file that has it, the one that
// Android would use first.
func (p *probe) offerProperty(key string, take func(finding) bool) (taken, found bool) {
	for _, name := range p.propertyFiles() {
		text := clean([]byte(p.fields(propertyFile, name)[key]))
		if text == "" {
			continue
		}
		found = true
		if take(finding{text: text, where: name + " " + key}) {
			return true, true
		}
	}
	return false, found
}

// propertyFiles returns the files that are there, in the order in which they
// count.
func (p *probe) propertyFiles() []string {
	if p.properties == nil {
		p.properties = slices.DeleteFunc(slices.Clone(buildFiles), func(name string) bool {
			return p.fields(propertyFile, name) == nil
		})
		level, _ := strconv.Atoi(p.fields(propertyFile, "/system/build.prop")["ro.build.version.sdk"])
		if level >= laterFilesWin {
			slices.Reverse(p.properties)
		}
	}
	return p.properties
}

// product is an ro.product property. Since Android 10 an image need not have it:
// init makes it at start of those of the partitions.
type product string

func (name product) offer(p *probe, take func(finding) bool) bool {
	order := strings.Split(strings.ReplaceAll(p.get(property("ro.product.property_source_order")), " ", ""), ",")
	order = slices.DeleteFunc(order, func(s string) bool { return !slices.Contains(partitions, s) })
	if len(order) == 0 { // the image does not set its own
		order = partitions
	}
	return p.offerPartitioned("ro.product."+string(name), "ro.product.*."+string(name), order, take)
}

// androidVersion is Android's release, which is empty on some images while their
// partitions have it.
type androidVersion struct{}

func (androidVersion) offer(p *probe, take func(finding) bool) bool {
	return p.offerPartitioned("ro.build.version.release", "ro.*.build.version.release", versionPartitions, take)
}

// offerPartitioned offers a property and what each partition has in its place:
// its name, with a star for the partition.
func (p *probe) offerPartitioned(plain, name string, order []string, take func(finding) bool) bool {
	taken, found := p.offerProperty(plain, take)
	for _, partition := range order {
		if taken {
			return true
		}
		var more bool
		taken, more = p.offerProperty(strings.Replace(name, "*", partition, 1), take)
		found = found || more
	}
	return taken || !found && take(finding{where: plain})
}
