package device

import (
	"strconv"
	"strings"
)

const (
	routes4    = "/proc/net/route"
	routes6    = "/proc/net/ipv6_route"
	addresses6 = "/proc/net/if_inet6"

	anywhere = "00000000000000000000000000000000" // as a destination of IPv6

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
	for _, f := range p.rows(routes4) {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask ...
		if len(f) >= 8 {
			world := f[1] == "00000000" && f[7] == "00000000"
			routes = appendRoute(routes, 0, route{from: routes4, name: f[0], world: world}, f[3], f[6], 10)
		}
	}
	first := len(routes)
	for _, f := range p.rows(routes6) {
		// The columns are destination, its length, source, its length, gateway, metric,
		// references, use, flags, interface. Every interface has link-local and
		// multicast routes: only the default ones say anything.
		if len(f) >= 10 && f[0] == anywhere && f[1] == "00" {
			routes = appendRoute(routes, first, route{from: routes6, name: f[9], world: true}, f[8], f[5], 16)
		}
	}
	_, err := p.read(routes4)
	return routes, err == nil || len(routes) > 0
}

// appendRoute adds a route that is up to those from first on, which are in the
// order of their metrics. A row that makes no sense is left out.
func appendRoute(routes []route, first int, r route, flags, metric string, base int) []route {
	set, err1 := strconv.ParseUint(flags, 16, 32)
	m, err2 := strconv.ParseUint(metric, base, 32)
	if err1 != nil || err2 != nil || set&flagUp == 0 || set&flagReject != 0 || !isInterfaceName(r.name) ||
		r.name == "lo" {
		return routes
	}
	r.metric = m
	routes = append(routes, r)
	for i := len(routes) - 1; i > first && routes[i-1].metric > m; i-- {
		routes[i-1], routes[i] = routes[i], routes[i-1]
	}
	return routes
}

// subnets returns the interfaces that have one.
func (p *probe) subnets(routes []route) map[string]bool {
	names := map[string]bool{}
	for _, r := range routes {
		names[r.name] = true
	}
	for _, f := range p.rows(addresses6) {
		// address, index, length, scope, flags, interface
		if len(f) >= 6 && len(f[0]) == 32 && !strings.HasPrefix(f[0], "fe80") { // that is of the link alone
			names[f[5]] = true
		}
	}
	return names
}

// isInterfaceName follows the kernel's dev_valid_name.
func isInterfaceName(name string) bool {
	return name != "" && len(name) < 16 && name != "." && name != ".." && name != "*" && !strings.ContainsAny(name, "/:")
}
