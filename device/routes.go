package device

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
)

const (
	routes4    = "/proc/net/route"
	routes6    = "/proc/net/ipv6_route"
	addresses6 = "/proc/net/if_inet6"

	// Of a route's flags, <linux/route.h>.
	flagUp     = 0x1
	flagReject = 0x200
)

// route is a row of the main routing table.
type route struct {
	from   string // the table
	name   string // of the interface
	metric uint64
	world  bool // a default route, not one to a subnet
}

// routes returns the rows of both tables that are up, IPv4's first, the lowest
// metric first. readable is false if IPv4's table is missing and IPv6's has no
// default route: then there may be one all the same.
func (p *probe) routes() (routes []route, readable bool) {
	data4, err4 := p.read(routes4)
	data6, err6 := p.read(routes6)
	table4, table6 := parseRoutes4(data4), parseRoutes6(data6)
	for _, table := range [][]route{table4, table6} {
		slices.SortStableFunc(table, func(a, b route) int { return cmp.Compare(a.metric, b.metric) })
	}
	return slices.Concat(table4, table6), err4 == nil || err6 == nil && len(table6) > 0
}

// parseRoutes4 reads /proc/net/route. Lines that make no sense are left out.
func parseRoutes4(table []byte) []route {
	var routes []route
	for line := range bytes.Lines(wholeLines(table)) {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask ...
		f := strings.Fields(string(line))
		if len(f) < 8 {
			continue
		}
		_, err0 := strconv.ParseUint(f[1], 16, 32)
		flags, err1 := strconv.ParseUint(f[3], 16, 32)
		metric, err2 := strconv.ParseUint(f[6], 10, 32)
		if err0 == nil && err1 == nil && err2 == nil {
			routes = appendRoute(routes, route{routes4, f[0], metric, f[1] == "00000000" && f[7] == "00000000"}, flags)
		}
	}
	return routes
}

// parseRoutes6 reads /proc/net/ipv6_route. Every interface has link-local and
// multicast routes, so only the default ones say anything.
func parseRoutes6(table []byte) []route {
	var routes []route
	for line := range bytes.Lines(wholeLines(table)) {
		// destination, its length, source, its length, gateway, metric, references, use, flags, interface
		f := strings.Fields(string(line))
		if len(f) < 10 || f[0] != strings.Repeat("0", 32) || f[1] != "00" {
			continue
		}
		metric, err1 := strconv.ParseUint(f[5], 16, 32)
		flags, err2 := strconv.ParseUint(f[8], 16, 32)
		if err1 == nil && err2 == nil {
			routes = appendRoute(routes, route{routes6, f[9], metric, true}, flags)
		}
	}
	return routes
}

func appendRoute(routes []route, r route, flags uint64) []route {
	if flags&flagUp == 0 || flags&flagReject != 0 || !isInterfaceName(r.name) || r.name == "lo" {
		return routes
	}
	return append(routes, r)
}

// parseAddresses6 returns the interfaces in /proc/net/if_inet6 that have an
// address beyond their own link.
func parseAddresses6(table []byte) []string {
	const linkLocal = "fe80"
	var names []string
	for line := range bytes.Lines(wholeLines(table)) {
		// address, index, length, scope, flags, interface
		f := strings.Fields(string(line))
		if len(f) >= 6 && len(f[0]) == 32 && !strings.HasPrefix(f[0], linkLocal) && isInterfaceName(f[5]) && f[5] != "lo" {
			names = append(names, f[5])
		}
	}
	return names
}

// isInterfaceName follows the kernel's dev_valid_name.
func isInterfaceName(name string) bool {
	return name != "" && len(name) < 16 && name != "." && name != ".." && name != "*" && !strings.ContainsAny(name, "/:")
}

// wholeLines leaves out the last line of a file that was cut at 64 KiB.
func wholeLines(data []byte) []byte {
	if len(data) == maxFile {
		return data[:bytes.LastIndexByte(data, '\n')+1]
	}
	return data
}
